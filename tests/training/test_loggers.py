import csv
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segtricks.cli import main
from segtricks.errors import UserError
from segtricks.runs import without_folders
from segtricks.training.loggers import asked_loggers, start_loggers, tensorboard_logger, wandb_logger

from . import wandb_records

WORDS = [
    *("fit", "--config", "synthetic", "--data.size", "32", "--data.batch_size", "4", "--model.hidden_dim", "8"),
    *("--data.train", "synthetic[:10]", "--data.held_out", "2", "--data.test", "['synthetic[10:12]']"),
    *(
        "--trainer.max_epochs",
        "1",
        "--trainer.log_every_n_steps",
        "1",
        "--test",
        "after",
        "--trainer.enable_progress_bar",
        "false",
    ),
]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A run of one epoch that was logged offline to W&B and to TensorBoard."""
    folder = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_RUN_GROUP", "table3")
        patch.setenv("WANDB_TAGS", "crop=true,backbone=a")
        patch.setenv("WANDB_JOB_TYPE", "a-crop")
        assert main([*WORDS, "--name", "x", "--wandb", "offline", "--trainer.logger", "true"]) == 0
    return folder / "runs/x"


def test_offline_run_keeps_config_group_and_tags(logged):
    config = wandb_records.config(logged)
    assert config["model"]["init_args"]["crop_fraction"] > 0
    assert config["data"]["init_args"]["test"] == ["synthetic[10:12]"]
    (run,) = (record.run for record in wandb_records.records(logged) if record.HasField("run"))
    assert (run.run_group, list(run.tags), run.job_type) == ("table3", ["crop=true", "backbone=a"], "a-crop")


def test_offline_run_keeps_loss_terms_panels_and_tables_under_the_run_folder(logged):
    history, files = wandb_records.history(logged), logged / "wandb/latest-run/files"
    with (logged / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/ncut"]]
    assert history["train/ncut"] == pytest.approx([float(row["train/ncut"]) for row in rows])
    assert "val/loss" in history
    layers = history["test/synthetic_10_12/masks/all_masks"][-1][0]
    assert set(layers) == {"mask", "mask_+_guided_filter", "target"}
    assert all((files / layer["path"]).is_file() for layer in layers.values())
    result = json.loads((logged / "test/synthetic-10-12.json").read_text())
    summary = wandb_records.summary(logged)
    assert summary["test/synthetic_10_12/mask/iou"] == pytest.approx(result["rows"]["mask"]["iou"])
    table = wandb_records.table(logged, "test/synthetic_10_12/images")
    assert len(table) == 2
    with (logged / "test/synthetic-10-12-per-image.csv").open(newline="") as file:
        each = {(row["mask"], row["image"]): row for row in csv.DictReader(file)}
    for line in table:
        (twin,) = [row for (mask, image), row in each.items() if mask == "mask" and image.endswith(line["image"])]
        assert (line["iou mask"], line["size"]) == pytest.approx((float(twin["iou"]), float(twin["size"])))
        assert line["target"].is_relative_to(logged), "a copy of the run folder is complete"
        with Image.open(line["target"]) as target:
            share = (np.asarray(target.convert("L")) > 127).mean()
        assert share == pytest.approx(line["size"], abs=0.02)


def test_tensorboard_holds_the_same_scalars_and_the_panels(logged):
    events = EventAccumulator(str(logged / "tensorboard")).Reload()
    history = wandb_records.history(logged)
    for name in ("train/ncut", "val/loss"):
        assert [event.value for event in events.Scalars(name)] == pytest.approx(history[name])
    result = json.loads((logged / "test/synthetic-10-12.json").read_text())
    (iou,) = events.Scalars("test/synthetic_10_12/mask_guided_filter/iou")
    assert iou.value == pytest.approx(result["rows"]["mask + guided filter"]["iou"])
    assert {"val/masks", "test/synthetic_10_12/masks", "test/synthetic_10_12/iou_by_size"} <= set(
        events.Tags()["images"]
    )
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert yaml.safe_load(text)["data"]["init_args"]["batch_size"] == 4


def test_resumed_run_writes_the_steps_from_its_checkpoint_on_again(tmp_path):
    for start, step in ((0, None), (3, 3)):
        logger = tensorboard_logger(tmp_path, step)
        for place in range(start, 6):
            logger.log_metrics({"x": 10.0 * start + place}, place)
        logger.finalize("success")
        time.sleep(1.1)  # files are told apart by the second
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("x")] == [
        *((0, 0), (1, 1), (2, 2), (3, 33), (4, 34), (5, 35)),
    ]


def test_resumed_run_has_the_id_that_it_had_at_wandb_and_a_test_of_it_its_own(logged):
    (folder,) = (logged / "wandb").glob("offline-run-*")
    assert wandb_logger(logged, "offline").version == folder.name.rpartition("-")[2]
    assert wandb_logger(logged, "offline", "test").version is None


def test_missing_tensorboard_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    with pytest.raises(UserError, match=r"pip install 'segtricks\[tensorboard\]'"):
        asked_loggers(True, tmp_path)


def test_loggers_given_by_class_are_taken_as_they_are(tmp_path):
    logger = tensorboard_logger(tmp_path)
    assert asked_loggers(logger, tmp_path) == asked_loggers([logger], tmp_path) == [logger]
    assert asked_loggers(None, tmp_path) == asked_loggers(False, tmp_path) == []


def test_method_without_training_is_logged_by_test(tmp_path):
    words = ["--config", "tokencut", "--model.backbone", "descriptor", "--data", "synthetic[:2]", "--name", "x"]
    words += ["--data.size", "64"]
    words = ["test", *words, "--trainer.enable_progress_bar", "false", "--wandb", "offline"]
    # A process of its own: W&B's service keeps the folder that it was started in.
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    subprocess.run([sys.executable, "-m", "segtricks", *words], cwd=tmp_path, env=own, check=True)
    result = json.loads((tmp_path / "runs/x/test/synthetic-0-2.json").read_text())
    summary = wandb_records.summary(tmp_path / "runs/x")
    for row in ("mask", "mask + guided filter", "mask + bilateral solver"):
        logged = summary[f"test/synthetic_0_2/{row.replace(' + ', '_').replace(' ', '_')}/iou"]
        assert logged == pytest.approx(result["rows"][row]["iou"])
    (run,) = (record.run for record in wandb_records.records(tmp_path / "runs/x") if record.HasField("run"))
    assert run.job_type == "test"


def test_without_the_option_nothing_of_it_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--name", "x"]) == 0
    assert not {"wandb", "tensorboard"} & {path.name for path in (tmp_path / "runs/x").iterdir()}


def test_failing_start_names_the_way_out(tmp_path, monkeypatch):
    def refuse(**options):
        raise ConnectionError("no network")

    monkeypatch.setattr("wandb.init", refuse)
    with pytest.raises(UserError, match=r"no network.\nNext: wandb login, or pass --wandb offline"):
        start_loggers(SimpleNamespace(loggers=[wandb_logger(tmp_path, "online")]), {})


def test_absolute_paths_of_a_config_are_cut_and_everything_else_stays():
    config = {"data": {"root": "/home/alice/x", "test": ["~/b/c", "ecssd[:9]", "d/e"], "size": 9}, "name": "runs/a"}
    shared = {"data": {"root": "…/x", "test": ["…/c", "ecssd[:9]", "d/e"], "size": 9}, "name": "runs/a"}
    assert without_folders(config) == shared
