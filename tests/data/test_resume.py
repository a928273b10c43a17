"""A run resumed from any checkpoint sees the very images that the uninterrupted run saw."""

import hashlib
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, OnExceptionCheckpoint

from segtricks.data.datamodule import SaliencyDataModule

Seen = list[tuple[int, int, tuple[str, ...], str]]

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        ".*does not have many workers",
        ".*isinstance.treespec, LeafSpec.",
        ".*callbacks used to create the checkpoint",
        ".*called without a model",
        ".*there is no last checkpoint",
    )
]


class Recorder(lightning.LightningModule):
    """Notes step, epoch, paths and a hash of the images of every training step; may die in one."""

    def __init__(self, die_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.die_at = die_at
        self.seen: Seen = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        if self.global_step == self.die_at:
            raise KeyError("the power fails")
        hashed = hashlib.sha256(batch["image"].numpy().tobytes()).hexdigest()
        self.seen.append((self.global_step, self.current_epoch, tuple(batch["path"]), hashed))
        return self.weight.sum() * batch["image"].mean()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("one", 1.0, batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(
    workers: int = 0,
    callbacks: list[Callback] | None = None,
    resume: Path | None = None,
    die_at: int | None = None,
    batch_size: int = 2,
    **options: Any,
) -> Seen:
    """Three batches of two an epoch; three epochs unless the options say otherwise."""
    data = SaliencyDataModule(
        train="synthetic[:8]", test=[], size=16, batch_size=batch_size, held_out=1, num_workers=workers
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=callbacks is not None,
        callbacks=callbacks,
        **({"max_epochs": 3} | options),
    )
    model = Recorder(die_at)
    trainer.fit(model, data, ckpt_path=resume, weights_only=True)
    return model.seen


def everywhere(folder: Path) -> list[Callback]:
    """Checkpoints after every step, every epoch, and every validation."""
    options: dict[str, Any] = {"save_top_k": -1, "auto_insert_metric_name": False}
    return [
        ModelCheckpoint(folder, "step{step}", every_n_train_steps=1, **options),
        ModelCheckpoint(folder, "epoch{step}", every_n_epochs=1, save_on_train_epoch_end=True, **options),
        ModelCheckpoint(
            folder, "validated{step}", monitor="one", every_n_epochs=1, save_on_train_epoch_end=False, **options
        ),
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Path]:
    """An uninterrupted run and its checkpoints."""
    folder = tmp_path_factory.mktemp("whole")
    return fit(callbacks=everywhere(folder)), folder


def test_the_uninterrupted_run_sees_three_different_epochs(whole: tuple[Seen, Path]) -> None:
    seen, _ = whole
    assert [(step, epoch) for step, epoch, _, _ in seen] == [(i, i // 3) for i in range(9)]
    assert len({hashed for *_, hashed in seen}) == 9


@pytest.mark.parametrize(
    ("kind", "done", "workers"),
    [
        ("step", 1, 0),  # within the first epoch
        ("step", 5, 0),  # within a later one
        ("step", 5, 2),
        ("step", 3, 0),  # after an epoch's last batch
        ("step", 3, 2),
        ("validated", 3, 2),  # the epoch's last batch is done, the epoch not yet
        ("epoch", 3, 0),  # between two epochs
        ("epoch", 6, 2),
    ],
)
def test_resuming_sees_what_the_run_would_have_seen(
    whole: tuple[Seen, Path], kind: str, done: int, workers: int
) -> None:
    seen, folder = whole
    assert fit(workers, resume=folder / f"{kind}{done}.ckpt") == seen[done:]


def test_an_interrupted_step_is_repeated(whole: tuple[Seen, Path], tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="the power fails"):
        fit(callbacks=[OnExceptionCheckpoint(tmp_path, "died")], die_at=4)
    assert fit(resume=tmp_path / "died.ckpt") == whole[0][4:]


@pytest.mark.parametrize(
    ("options", "kind", "done"),
    [
        ({"max_steps": 8, "max_epochs": -1}, "epoch", 3),  # Lightning itself is one epoch ahead here
        ({"max_steps": 8, "max_epochs": -1}, "step", 4),
        ({"limit_train_batches": 2, "max_epochs": 3}, "step", 3),
        ({"val_check_interval": 2, "max_epochs": 2}, "validated", 5),
    ],
)
def test_other_ways_to_count(tmp_path: Path, options: dict[str, Any], kind: str, done: int) -> None:
    seen = fit(callbacks=everywhere(tmp_path), **options)
    assert fit(resume=tmp_path / f"{kind}{done}.ckpt", **options) == seen[done:]


def test_a_changed_batch_size_within_an_epoch_is_named(whole: tuple[Seen, Path]) -> None:
    with pytest.warns(UserWarning, match="lies within an epoch and the data changed .batch_size 2 -> 3"):
        fit(resume=whole[1] / "step4.ckpt", batch_size=3)


def test_resuming_within_an_epoch_raises_no_alarm(whole: tuple[Seen, Path], recwarn: pytest.WarningsRecorder) -> None:
    fit(resume=whole[1] / "step4.ckpt")
    assert not [warning for warning in recwarn if "not resumable" in str(warning.message)]


def test_a_second_fit_starts_afresh(whole: tuple[Seen, Path]) -> None:
    data = SaliencyDataModule(train="synthetic[:8]", test=[], size=16, batch_size=2, held_out=1, num_workers=0)
    runs = []
    for resume in (whole[1] / "step4.ckpt", None):
        model = Recorder()
        trainer = lightning.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False, max_epochs=3
        )
        trainer.fit(model, data, ckpt_path=resume, weights_only=True)
        runs.append(model.seen)
    assert runs == [whole[0][4:], whole[0]]
