import lightning
import pytest
import torch

from segtricks.cli import main
from segtricks.runs import logged_rows
from segtricks.training.checkpoints import read_checkpoint
from segtricks.training.run_checkpoint import RunCheckpoint

WORDS = [
    *("fit", "--config", "synthetic", "--data.size", "32", "--model.hidden_dim", "8", "--model.crop", "false"),
    *("--data.train", "synthetic[:29]", "--data.held_out", "5", "--data.batch_size", "4", "--test", "none"),
    *("--panels", "0", "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1"),
]


@pytest.mark.parametrize("stop", ["3", "6", "8"])  # inside the first epoch, at its end, inside the second
def test_training_that_max_steps_ended_goes_on_from_that_very_step(tmp_path, monkeypatch, capsys, stop):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--name", "whole"]) == 0
    assert main([*WORDS, "--name", "stopped", "--trainer.max_steps", stop]) == 0
    assert f"Trained to step {stop} in" in capsys.readouterr().out
    assert main(["fit", "--resume", "--name", "stopped", "--trainer.max_steps", "12"]) == 0
    whole, stopped = (
        torch.load(f"runs/{name}/checkpoints/last.ckpt", weights_only=True) for name in ("whole", "stopped")
    )
    assert whole["global_step"] == stopped["global_step"] == 12
    assert all(torch.equal(tensor, stopped["state_dict"][name]) for name, tensor in whole["state_dict"].items())
    steps = [line.split(",")[:2] for line in (tmp_path / "runs/stopped/metrics.csv").read_text().splitlines()]
    assert steps == [line.split(",")[:2] for line in (tmp_path / "runs/whole/metrics.csv").read_text().splitlines()]


def test_a_run_that_goes_on_ends_at_max_steps_as_a_whole_one_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*WORDS, "--data.train", "synthetic[:13]", "--trainer.log_every_n_steps", "2", "--trainer.max_steps"]
    assert main([*words, "3", "--name", "whole"]) == 0
    assert main([*words, "2", "--name", "stopped"]) == 0
    assert main([*words, "2", "--name", "stopped", "--resume"]) == 0  # as where it was killed after its last step
    assert torch.load("runs/stopped/checkpoints/last.ckpt", weights_only=True)["global_step"] == 2
    assert main(["fit", "--resume", "--name", "stopped", "--trainer.max_steps", "3"]) == 0
    whole, stopped = (_numbers(tmp_path / "runs" / name) for name in ("whole", "stopped"))
    assert stopped == whole


def _numbers(run):
    return [{key: value for key, value in row.items() if "health/" not in key} for row in logged_rows(run)]


def test_bar_of_an_epoch_that_goes_on_has_a_total_and_the_time_left(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--name", "a", "--trainer.max_steps", "3"]) == 0
    capfd.readouterr()
    assert main(["fit", "--resume", "--name", "a", "--trainer.max_steps", "5"]) == 0
    shown = capfd.readouterr().out
    assert "Epoch 1 of 2:  83%" in shown
    assert "5/6" in shown
    assert "left=" in shown


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(torch.zeros(3, 1))


class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        return self.weight.square().sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_data_without_a_length_has_checkpoints_too(tmp_path):
    checkpoint = RunCheckpoint(dirpath=tmp_path, filename="last", save_on_train_epoch_end=True)
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[checkpoint], logger=False, enable_progress_bar=False
    )
    trainer.fit(Line(), torch.utils.data.DataLoader(Endless()))
    assert (tmp_path / "last.ckpt").is_file()


@pytest.mark.parametrize("steps", ["4", "6"])
def test_a_training_that_is_at_its_end_is_not_trained_on(tmp_path, monkeypatch, capsys, steps):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--name", "a", "--trainer.max_steps", steps]) == 0
    before = read_checkpoint(tmp_path / "runs/a/checkpoints/last.ckpt")
    assert main(["fit", "--resume", "--name", "a"]) == 0
    after = read_checkpoint(tmp_path / "runs/a/checkpoints/last.ckpt")
    assert before["global_step"] == after["global_step"] == int(steps)
    assert all(torch.equal(value, after["state_dict"][name]) for name, value in before["state_dict"].items())
    assert f"Trained to step {steps}" in capsys.readouterr().out.rpartition("goes on from")[2]
