"""Pseudo-labels as the first stages of ``fit``."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from segtricks.cli import main
from segtricks.commands import options, pseudo_labels, stages
from segtricks.data.datasets.scenes import DrawnScenes
from segtricks.errors import UserError
from segtricks.pseudo_labels import Store, encode_mask, write_entry, write_labels
from segtricks.pseudo_labels.stages import PseudoLabels, label_stages
from segtricks.training.checkpoints import read_checkpoint

SMALL = {"depth": 18, "channels": 32, "semantic_channels": 32, "hidden": 16, "anchor": 8, "level_proposals": 20}
SMALL |= {"proposals": 20, "samples": 16, "detections": 5}
LABELS = PseudoLabels(backbone="descriptor", size=64, refine="none", feature="mask", crop_size=32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Drawn scenes, one photograph without an object, and a broken one."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    folder.mkdir()
    scenes = DrawnScenes(24, 64)
    for index in range(len(scenes)):
        Image.fromarray(scenes.read_image(index).permute(1, 2, 0).numpy()).save(folder / f"{index:02}.png")
    Image.new("RGB", (64, 64), (90, 90, 90)).save(folder / "flat.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def _words(photos, *more):
    words = ["fit", "--config", "u2seg_small", "--name", "run", "--data.train", str(photos), "--test", "none"]
    for name in ("backbone", "size", "refine", "feature", "crop_size"):
        words += [f"--model.labels.{name}", str(getattr(LABELS, name))]
    words += ["--model.num_things", "3", "--model.num_stuff", "2", "--model.size", json.dumps(SMALL)]
    words += ["--data.size", "64", "--data.resize", "64", "--data.held_out", "2", "--max_bad_share", "0.1"]
    return [*words, "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", *more]


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The commands of the stages, which run in this process."""
    monkeypatch.chdir(tmp_path)
    made = []

    def call(words, home, hint):
        made.append(words[0])
        if main(words):
            raise UserError(hint)

    monkeypatch.setattr(stages, "_call", call)
    return made


def test_photographs_alone_become_masks_classes_stuff_and_a_trained_network(
    photos, calls, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(options, "default_device", lambda: "cuda:0")  # as where there is a GPU, which must not be used
    assert main(_words(photos)) == 0
    assert calls == ["discover", "classes", "stuff"]
    said = capsys.readouterr().out
    assert "broken.png: not an image" in said and "1 photographs without one" in said
    store = Store.open(tmp_path / "runs/run/pseudo_labels")
    entries = {name: store.entry(name) for name in store.names}
    assert len(entries) == 25 and not entries["flat"].masks
    assert {mask.class_id for entry in entries.values() for mask in entry.masks} == {1, 2, 3}
    assert set(np.unique(entries["flat"].read_labels())) <= {1, 2, 255}
    source = store.index["source"]
    assert source["method"].endswith("N = 3") and source["classes of objects"].startswith("K = 3")
    assert source["classes of stuff"].startswith("S = 2") and source["void"].endswith("% of all pixels")
    page = (tmp_path / "runs/run/pseudo_labels/page.html").read_text()
    assert "Masks of each class" in page and "K = 3" in page and "label map" in page
    config = yaml.safe_load((tmp_path / "runs/run/config.yaml").read_text())
    assert config["data"]["init_args"]["masks"] == "runs/run/pseudo_labels"
    assert {name: config["provenance"][name] for name in "KSN"} == {"K": 3, "S": 2, "N": 3}

    calls.clear()
    for name, device in {"masks": "--trainer.accelerator cpu", "classes": "--device cuda:1"}.items():
        marker = tmp_path / f"runs/run/stages/{name}.txt"
        marker.write_text(marker.read_text().replace("--device cpu", device))
    assert main(["fit", "--resume", "--name", "run", "--trainer.max_epochs", "2"]) == 0
    assert not calls, "every stage has ended, if on another device"
    assert main(["fit", "--resume", "--name", "run", "--model.num_stuff", "3"]) == 2
    assert "resume with the same options" in capsys.readouterr().err


def test_a_stage_computes_on_the_first_device_of_training():
    assert pseudo_labels.device_words(torch.device("cuda", 1)) == ["--device", "cuda:1"]
    assert pseudo_labels.device_words(torch.device("cpu")) == ["--device", "cpu"]


def test_more_classes_than_instances_end_with_the_option_to_pass_and_other_ones_go_on(photos, calls, capsys):
    assert main(_words(photos, "--model.num_things", "900")) == 2
    said = capsys.readouterr().err
    assert "--k 900 classes need as many instances" in said and "--k is --model.num_things here" in said
    calls.clear()
    assert main(["fit", "--resume", "--name", "run", "--model.num_things", "2"]) == 0
    assert calls == ["classes", "stuff"]


def _store(folder, label, labels):
    mask = np.zeros((64, 64), bool)
    mask[8:40, 8:40] = True
    write_entry(folder, "a", "a.png", mask.shape, [encode_mask(mask, 1.0, label)])
    if labels:
        write_labels(folder, "a", mask.astype(int))
    return str(folder)


@pytest.mark.parametrize(
    ("label", "labels", "stuff", "expected"),
    [
        (None, False, 2, "classes stuff"),
        (None, True, 2, "classes"),
        (1, False, 2, "stuff"),
        (1, False, 0, ""),
        (1, True, 2, ""),
    ],
)
def test_what_a_store_has_is_not_made_again(tmp_path, label, labels, stuff, expected):
    store = _store(tmp_path / "store", label, labels)
    found = label_stages(LABELS, store, tmp_path / "run", num_things=2, num_stuff=stuff, seed=0)
    assert [stage.name for stage in found] == expected.split()
    assert all(stage.words[stage.words.index("--output") + 1] == str(tmp_path / "run/pseudo_labels") for stage in found)
    if found:
        assert found[0].words[found[0].words.index("--masks") + 1] == store


def test_a_run_that_is_killed_while_it_makes_masks_and_while_it_trains_goes_on(photos, tmp_path, monkeypatch):
    run = tmp_path / "runs/run"
    _kill_once(_words(photos, "--save_every", "1"), tmp_path, lambda: any((run / "masks/entries").glob("[!.]*.json")))
    made = {path: path.stat().st_mtime_ns for path in (run / "masks/entries").glob("[!.]*.json")}
    assert made and not (run / "stages/masks.txt").exists()
    last = run / "checkpoints/last.ckpt"
    _kill_once(["fit", "--resume", "--name", "run"], tmp_path, last.is_file)
    assert {path: path.stat().st_mtime_ns for path in made} == made, "masks that were there are kept"
    assert len(list((run / "masks/entries").glob("[!.]*.json"))) == 25
    before = read_checkpoint(last)["global_step"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "_call", lambda words, home, hint: pytest.fail("a stage ran again"))
    assert main(["fit", "--resume", "--name", "run"]) == 0
    assert before < read_checkpoint(last)["global_step"] == 5


def test_masks_are_known_to_a_run_that_was_killed_before_its_first_stage(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = _store(tmp_path / "store", None, labels=False)
    with monkeypatch.context() as patch:
        patch.setattr(pseudo_labels, "write_json", lambda path, content: sys.exit("killed"))
        assert main(_words(photos, "--data.masks", store)) == 130
    begun = []
    monkeypatch.setattr(pseudo_labels, "run_stage", lambda home, name, words, hint: begun.append(words))
    assert main(["fit", "--resume", "--name", "run"]) == 2  # there are no labels then
    assert begun[0][begun[0].index("--masks") + 1] == store


def _kill_once(words, folder, reached):
    """Run a command until something is there, and kill all its processes."""
    environment = os.environ | {"PYTHONPATH": str(Path(main.__globals__["__file__"]).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-m", "segtricks", *words], cwd=folder, env=environment, start_new_session=True
    )
    try:
        while not reached():
            assert process.poll() is None, "it ended before"
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
