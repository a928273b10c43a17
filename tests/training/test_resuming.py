"""Where a resumed training ends."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from segtricks.training.bar import TrainingBar
from segtricks.training.resuming import StopAtStep, total_steps


def _checkpoint(step, whole_epoch):
    epochs = {"started": 3, "processed": 3 if whole_epoch else 2}
    return {"global_step": step, "loops": {"fit_loop": {"epoch_progress": {"current": epochs}}}}


class _Plain(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.totals = []

    def training_step(self, batch, batch_idx):
        self.totals.append(total_steps(self.trainer))
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("limits", [{}, {"max_epochs": -1}, {"max_epochs": 50}])
@pytest.mark.parametrize("whole_epoch", [False, True])
def test_a_schedule_sees_the_same_end_after_a_resume(tmp_path, recwarn, whole_epoch, limits):
    bar = TrainingBar()
    trainer = Trainer(
        max_steps=10, logger=False, enable_checkpointing=False, callbacks=[bar], default_root_dir=tmp_path, **limits
    )
    StopAtStep.instead_of_max_steps(trainer, _checkpoint(6, whole_epoch))
    module = _Plain()
    trainer.fit(module, torch.utils.data.DataLoader(torch.ones(4, 1), batch_size=1))
    assert set(module.totals) == {10} and trainer.global_step == 10
    assert not [warning for warning in recwarn if "max_epochs" in str(warning.message)]


def test_a_training_at_its_last_step_is_left_to_max_steps():
    trainer = Trainer(max_steps=10, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    StopAtStep.instead_of_max_steps(trainer, _checkpoint(10, True))
    assert trainer.max_steps == 10
    assert not [callback for callback in trainer.callbacks if isinstance(callback, StopAtStep)]
