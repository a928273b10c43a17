from types import SimpleNamespace

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from segtricks.training.bar import CudnnBenchmark, TrainingBar


class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        loss = (self.weight - 1).square().sum()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize(("every", "steps"), [(1, range(1, 11)), (4, [1, 4, 8, 10]), (50, [1, 10])])
def test_bar_reads_the_loss_when_it_is_logged_and_at_the_end_of_an_epoch(monkeypatch, tmp_path, every, steps):
    read = []
    metrics = lightning.Trainer.progress_bar_metrics.fget
    monkeypatch.setattr(
        lightning.Trainer, "progress_bar_metrics", property(lambda self: read.append(self.global_step) or metrics(self))
    )
    bar = TrainingBar()
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, log_every_n_steps=every, logger=False, enable_checkpointing=False,
        enable_model_summary=False, callbacks=[bar], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Line(), DataLoader(torch.zeros(10, 1)))
    assert sorted(set(read)) == list(steps)
    assert bar.train_progress_bar.n == 10, "it moves with every step"
    assert bar._shown["train/loss"] == pytest.approx(float(trainer.callback_metrics["train/loss"]))


@pytest.mark.parametrize("kind", ["train", "test"])  # that of a validation asks for a trainer
def test_bar_of_another_process_stays_off(kind):
    bar = TrainingBar()
    bar.disable()  # as Lightning does on every process but the first
    assert getattr(bar, f"init_{kind}_tqdm")().disable


@pytest.mark.parametrize(("device", "during"), [("cuda", True), ("cpu", False)])
def test_cudnn_chooses_kernels_only_while_a_gpu_trains(monkeypatch, device, during):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
    callback = CudnnBenchmark()
    callback.on_fit_start(trainer, None)
    assert torch.backends.cudnn.benchmark is during
    callback.teardown(trainer, None, "fit")
    assert torch.backends.cudnn.benchmark is False
    callback.teardown(trainer, None, "test")
    assert torch.backends.cudnn.benchmark is False
