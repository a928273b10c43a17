import csv
import logging
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from segtricks.errors import UserError
from segtricks.losses import measure_graph
from segtricks.training.health import BATCHES, LOOKS, PASSES, Health, peak_memory_mb
from segtricks.training.metrics_file import MetricsFile

BATCH = {"image": torch.zeros(2, 3, 4, 4)}


class Strategy:
    def reduce_boolean_decision(self, decision, all=True):
        return decision


def trainer(step=0, metrics=None):
    return SimpleNamespace(
        global_step=step,
        log_every_n_steps=1,
        callback_metrics={} if metrics is None else metrics,
        strategy=Strategy(),
        is_global_zero=True,
        sanity_checking=False,
        state=SimpleNamespace(fn="fit"),
    )


def train(health, shares):
    for step, share in enumerate(shares, 1):
        module = SimpleNamespace(last_share=torch.tensor(share))
        health.on_train_batch_end(trainer(step), module, None, BATCH, step)


def validate(health, *masks, fn="fit"):
    own = trainer()
    own.state.fn = fn
    health.on_validation_start(own, None)
    for mask in masks:
        health.on_validation_batch_end(own, None, mask, BATCH, 0)
    health.on_validation_epoch_end(own, None)
    health.on_validation_end(own, None)


def log_terms(health, values, first=0, gap=BATCHES):
    for step, value in enumerate(values):
        metrics = {"train/image_tv": torch.tensor(value), "val/image_tv": torch.tensor(0.0)}
        health.on_train_batch_end(trainer(first + step * gap, metrics), None, None, BATCH, 0)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_masks_without_a_border_over_many_batches_are_told_once_with_what_to_try(caplog, share):
    with caplog.at_level(logging.WARNING):
        train(Health(), [share] * (BATCHES - 1))
        assert not caplog.records
        train(Health(), [share] * 3 * BATCHES)
    (record,) = caplog.records
    assert "step 100: The masks of the last 100 training batches are all foreground or all" in record.getMessage()
    assert "try --model.optimizer.lr" in record.getMessage()


def test_one_batch_with_a_border_starts_the_count_again(caplog):
    train(Health("stop"), ([0.0] * (BATCHES - 1) + [0.2]) * 3)


def test_collapse_stops_the_run_if_asked():
    with pytest.raises(UserError, match=r"^Stopped at step 100\. The masks of the last 100 training batches"):
        train(Health("stop"), [0.0] * BATCHES)


def test_without_a_share_the_held_out_masks_tell(caplog):
    empty, some = torch.full((2, 1, 4, 4), 0.49), torch.full((2, 1, 4, 4), 0.49)
    some[0, 0, 0, 0] = 0.51
    health = Health("stop")
    for _ in range(2 * PASSES):
        validate(health, empty, some)
    validate(health, empty)
    validate(health, empty, some)
    validate(health, empty, fn="validate")  # of the command, not of a fit
    for _ in range(PASSES - 1):
        validate(health, empty)
    with pytest.raises(UserError, match=f"all held-out images in {PASSES} validations"):
        validate(health, empty, 1 - empty)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_loss_term_with_the_same_value_at_all_looks_is_named_once(caplog, value):
    health = Health()
    with caplog.at_level(logging.WARNING):
        log_terms(health, [value] * (LOOKS - 1))
        assert not caplog.records
        log_terms(health, [value] * 5, first=LOOKS * BATCHES)
    (record,) = caplog.records
    assert f"train/image_tv was exactly {value:g} whenever it was logged since step 0" in record.getMessage()


def test_term_that_moves_once_in_a_while_is_alive():
    log_terms(Health("stop"), ([0.0] * (LOOKS - 1) + [0.1]) * 3)


def test_equal_values_within_few_steps_are_no_evidence():
    log_terms(Health("stop"), [0.0] * 50, gap=1)


def test_term_that_is_not_logged_any_more_is_over_and_not_dead():
    old = torch.tensor(0.7)  # Lightning keeps what was logged last
    health = Health("stop")
    for step in range(3 * LOOKS):
        health.on_train_batch_end(trainer(step * BATCHES, {"train/background": old}), None, None, BATCH, 0)


def test_device_is_read_only_where_the_step_is_logged():
    # A tensor without data: whoever reads it fails, as a GPU would have to be waited for.
    own = trainer(step=3)
    own.log_every_n_steps = 50
    health, module = Health("stop"), SimpleNamespace(last_share=torch.zeros((), device="meta"))
    for _ in range(2 * BATCHES):
        health.on_train_batch_end(own, module, None, BATCH, 0)


class Sleeper(LightningModule):
    """Trains for 0.02 s a batch and validates for 0.3 s."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        time.sleep(0.02)
        return self.weight * batch["image"].mean()

    def validation_step(self, batch, batch_idx):
        time.sleep(0.3)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_speed_and_memory_of_each_epoch_are_in_metrics_csv_without_the_time_of_validation(tmp_path):
    images = [{"image": torch.zeros(3, 2, 2)} for _ in range(8)]
    before = peak_memory_mb()
    Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[Health()],
        logger=MetricsFile(tmp_path),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    ).fit(Sleeper(), DataLoader(images, batch_size=2), DataLoader(images[:2], batch_size=2))
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["health/images_per_s"]]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for row in rows:
        # 8 images in at least 0.08 s; with the validation it would be 8 in 0.38 s at least.
        assert 8 / 0.38 < float(row["health/images_per_s"]) <= 8 / 0.08
        assert before <= float(row["health/memory_mb"]) <= peak_memory_mb()


class Terms(LightningModule):
    """Logs a term that is over after a few steps, one that is constant, and one that lives."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        if batch_idx < 5:
            self.log("train/background", 0.5 + batch_idx)
        self.log_dict({"train/dead": 0.25, "train/ncut": float(batch_idx)})
        return self.weight * batch["image"].mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_in_lightning_a_constant_term_is_dead_and_one_that_ended_is_not(tmp_path, caplog):
    images = [{"image": torch.zeros(3, 2, 2)} for _ in range(BATCHES + 50)]
    with caplog.at_level(logging.WARNING, "segtricks"):
        Trainer(
            max_epochs=1,
            log_every_n_steps=10,
            accelerator="cpu",
            callbacks=[Health()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(Terms(), DataLoader(images, batch_size=1))
    told = [record.getMessage() for record in caplog.records if record.name.startswith("segtricks")]
    assert [text.split(": ")[1].split(" was")[0] for text in told] == ["train/dead"]


def test_memory_is_what_the_kernel_calls_the_high_water_mark():
    status = Path("/proc/self/status")
    if not status.is_file():
        pytest.skip("only Linux tells it in a second place")
    kib = int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
    assert peak_memory_mb() == pytest.approx(kib / 1024, rel=0.05)


def log_cut(health, cuts, first=0):
    module = SimpleNamespace(tau=0.4)
    health.on_train_start(trainer(first), module)
    for step, value in enumerate(cuts, 1):
        module.last_cut = torch.tensor(value)
        health.on_train_batch_end(trainer(first + step), module, None, BATCH, 0)


@pytest.mark.parametrize(("features", "tau"), [(1.0, 0.4), (0.0, 0.9)])
def test_a_graph_with_nothing_to_cut_is_said_before_the_first_step(caplog, features, tau):
    """All patches nearly alike, as the keys of DINOv2 at DINO's threshold, or none."""
    sample = features * 3 + torch.randn(8, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.5
    graph = measure_graph([sample], tau)
    health = Health()
    health.on_train_start(trainer(), SimpleNamespace(graph=graph, tau=tau))
    (record,) = caplog.records
    assert str(graph) in record.getMessage() and "--model.tau share:0.6" in record.getMessage()
    assert "--model.tau" in health.advice
    with pytest.raises(UserError, match="nothing to cut"):
        Health("stop").on_train_start(trainer(), SimpleNamespace(graph=graph, tau=tau))


def test_advice_is_another_share_where_that_one_was_given(caplog):
    graph = measure_graph([torch.randn(8, 6, 6)], 0.99)
    Health().on_train_start(trainer(), SimpleNamespace(graph=graph, tau="share:0.6"))
    assert "--model.tau share:0.4" in caplog.text


def test_a_sound_graph_says_nothing(caplog):
    graph = measure_graph([torch.randn(8, 6, 6)], "share:0.5")
    health = Health()
    health.on_train_start(trainer(), SimpleNamespace(graph=graph))
    health.on_train_start(trainer(), SimpleNamespace())
    assert not caplog.records and health.advice is None


def test_a_cut_that_has_not_moved_in_fifty_steps_is_said_once(caplog):
    health = Health()
    log_cut(health, [1.0] * 49)
    assert not caplog.records
    log_cut(health, [1 + step * 1e-5 for step in range(70)])
    (record,) = caplog.records
    assert (
        "normalized cut has been 1.0000 since step 0" in record.getMessage()
        and "--model.feature" in record.getMessage()
    )
    assert health.advice


def test_a_cut_that_moves_at_first_is_left_alone_later_and_so_is_a_resumed_one(caplog):
    health = Health()
    log_cut(health, [1.0, 0.99, *(0.98 + step * 1e-5 for step in range(70))])
    log_cut(Health(), [0.5] * 70, first=1000)
    assert not caplog.records and health.advice is None
