"""One folder with every bad file of ``bad_files``: each command lists all of them and goes on with all others."""

import csv
import json
import logging
import shutil
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image

from segtricks.cli import main
from segtricks.data import ImageFolder
from segtricks.data.images import UnreadableImage, find_images, read_image, read_mask
from segtricks.data.store import ImageCache

from .bad_files import SIDE, no_files, write_all

TINY = [
    *("--config", "synthetic"),
    *("--data.size", "32", "--data.batch_size", "8", "--model.hidden_dim", "8", "--panels", "4"),
    *("--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", "--max_bad_share", "1"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def unwaited(tmp_path_factory):
    """What should be said of what is no file, and what was; no other test starts where one is waited for, and hangs."""
    folder = tmp_path_factory.mktemp("no-files")
    reasons, told = no_files(folder), {}
    cache = ImageCache(folder / "cache", 32)

    def read():
        for name in reasons:
            try:
                cache.get(folder / name, lambda name=name: read_image(folder / name))
            except UnreadableImage as error:
                told[name] = error.reason

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(20)
    assert not reader.is_alive(), f"waits for what comes after {list(told)[-1:]}"
    return reasons, told


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, unwaited):
    """Names of the bad and of the good files in ``photos``; ``masks`` beside it has a sound one for each."""
    folder = tmp_path_factory.mktemp("corpus")
    bad, good = write_all(folder / "photos")
    (folder / "masks").mkdir()
    for name in bad | good:
        height, width = (SIDE, SIDE) if name in bad else read_image(folder / "photos" / name).shape[1:]
        mask = Image.new("L", (width, height))
        mask.paste(255, (0, 0, (width + 1) // 2, height))
        mask.save(folder / "masks" / f"{name}.png")
    return folder, bad, good


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """A run that was trained on the whole corpus, and the names of the files that it skipped."""
    folder, bad, good = corpus
    home, messages = tmp_path_factory.mktemp("run"), []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.args)
    logging.getLogger("segtricks").addHandler(handler)
    held_out = (len(bad) + len(good)) % 8 + 8  # whole batches, so that no file is left out of the epoch
    words = ["--data.train", str(folder / "photos"), "--data.test", "[]", "--data.held_out", str(held_out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        # The cache opens files before the readers do.
        cache = ["--data.cache", "true", "--data.cache_dir", str(home / "cache")]
        assert main(["fit", *TINY, *words, *cache, "--name", "x"]) == 0
    logging.getLogger("segtricks").removeHandler(handler)
    return home / "runs/x", [Path(args[0]).name for args in messages if len(args) == 2 and isinstance(args[0], str)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(entries):
    return {Path(entry["path"]).name for entry in entries}


def test_corpus_is_large_and_every_file_of_it_is_found(corpus):
    folder, bad, good = corpus
    assert len(bad) >= 100
    assert {path.name for path in find_images(folder / "photos")} == bad | good


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_readers_refuse_all_that_is_bad_and_read_all_that_is_sound(corpus, read):
    folder, bad, good = corpus
    for name in good:
        assert read(folder / "photos" / name).dtype == torch.uint8, name
    for name in bad:
        with pytest.raises(UnreadableImage) as caught:
            read(folder / "photos" / name)
        assert caught.value.path == str(folder / "photos" / name)
        assert caught.value.reason


def test_what_is_no_file_is_told_apart(unwaited):
    reasons, told = unwaited
    assert {name: told[name] for name, reason in reasons.items() if reason not in told[name]} == {}


def test_fit_names_each_bad_file_once_and_trains_on_the_others(corpus, run):
    _, bad, _ = corpus
    folder, skipped = run
    assert sorted(skipped) == sorted(bad)
    with (folder / "metrics.csv").open(newline="") as file:
        assert [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]


def test_test_lists_all_bad_photographs_and_scores_the_others(corpus, run, here, capsys):
    folder, bad, good = corpus
    shutil.copytree(run[0], here / "x")
    # Names of masks are the photographs' with another suffix, and here many photographs differ in theirs alone.
    masks = here / "masks"
    masks.mkdir()
    for name in bad | good:
        shutil.copy(folder / "masks" / f"{name}.png", masks / Path(name).with_suffix(".png"))
    words = ["--run", "x", "--data", str(folder / "photos"), "--data.masks", str(masks), "--max_bad_share", "1"]
    assert main(["test", *words]) == 0
    (file,) = (here / "x/test").glob("*.json")
    result = json.loads(file.read_text())
    assert listed(result["skipped"]) >= bad
    assert result["images"] + len(result["skipped"]) == len(bad | good)
    assert capsys.readouterr().out.count("skipped ") == len(result["skipped"])


@pytest.mark.parametrize("command", ["predict", "discover"])
def test_masks_are_written_of_all_but_the_bad_photographs(corpus, run, here, command):
    folder, bad, good = corpus
    words = ["--images", str(folder / "photos"), "--output", "masks"]
    own = ["--run", str(run[0])] if command == "predict" else ["--backbone", "descriptor4", "--size", "32"]
    assert main([command, *own, *words]) == 0
    index = json.loads((here / "masks/index.json").read_text())
    assert listed(index["skipped"]) == bad
    assert {Path(name).name for name in index["written"]} == good
    assert len(find_images(here / "masks/soft")) == len(good)


def test_instances_and_their_classes_are_of_all_but_the_bad_photographs(corpus, here):
    folder, bad, good = corpus
    words = ["--images", str(folder / "photos"), "--backbone", "descriptor4", "--size", "32"]
    assert main(["discover", "--method", "maskcut", "--refine", "none", "--output", "masks", *words]) == 0
    index = json.loads((here / "masks/index.json").read_text())
    assert listed(index["skipped"]) == bad
    assert {Path(name).name for name in index["written"]} == good
    assert main(["classes", "--masks", "masks", "--k", "1", "--feature", "mask", *words]) == 0
    assert json.loads((here / "masks/classes.json").read_text())["sizes"] == [index["masks"]]


def test_clusters_are_of_all_but_the_bad_photographs(corpus, here):
    folder, bad, good = corpus
    words = ["--images", str(folder / "photos"), "--masks", str(folder / "masks"), "--output", "labels", "--k", "3"]
    assert main(["cluster", *words, "--backbone", "descriptor4", "--size", "32"]) == 0
    index = json.loads((here / "labels/index.json").read_text())
    assert listed(index["skipped"]) == bad
    assert len(find_images(here / "labels/labels")) + len(index["without_mask"]) == len(good)


@pytest.mark.parametrize("bad_ones", ["predictions", "targets"])
def test_evaluate_lists_all_bad_masks_and_scores_the_others(corpus, here, bad_ones):
    folder, bad, good = corpus
    bare = here / "bare"  # whose names are the photographs' without a suffix and ".png"
    bare.mkdir()
    for name in bad | good:
        shutil.copy(folder / "masks" / f"{name}.png", bare / Path(name).with_suffix(".png"))
    sides = [str(folder / "photos"), str(bare)]
    predictions, targets = sides if bad_ones == "predictions" else sides[::-1]
    words = ["--predictions", predictions, "--targets", targets, "--output", "r.json", "--per-image", "r.csv"]
    assert main(["evaluate", *words, "--figures", "figures", "--images", str(folder / "photos")]) == 0
    result = json.loads((here / "r.json").read_text())
    doubles = {Path(entry["path"]).name for entry in result["skipped"] if "is used instead" in entry["reason"]}
    assert listed(result["skipped"]) == bad | doubles
    assert result["images"] == len(good - doubles)
    with (here / "r.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == result["images"]


def test_refine_lists_all_bad_files_and_refines_the_others(corpus, here):
    folder, bad, good = corpus
    photos = str(folder / "photos")
    assert main(["refine", "--masks", photos, "--images", photos, "--output", "out"]) == 0
    index = json.loads((here / "out/index.json").read_text())
    doubles = {Path(entry["path"]).name for entry in index["skipped"] if "is used instead" in entry["reason"]}
    assert listed(index["skipped"]) == bad | doubles
    assert index["images"] == len(good - doubles) == len(find_images(here / "out"))


def test_verify_lists_all_bad_files_and_writes_a_list_of_the_others(corpus, here):
    folder, bad, good = corpus
    assert main(["data", "verify", str(folder / "photos"), "--output", "v.json", "--fix-list", "good.txt"]) == 1
    found = json.loads((here / "v.json").read_text())["findings"]
    assert {Path(entry["path"]).name for entry in found if entry["kind"] == "image"} == bad
    unlisted = {Path(entry["path"]).name for entry in found if entry["kind"] == "name"}
    lines = (here / "good.txt").read_text(encoding="utf-8").splitlines()
    assert {Path(line).name for line in lines} == good - unlisted


def test_masks_among_the_photographs_are_told_apart_beside_links_that_go_in_a_circle(tmp_path):
    (tmp_path / "photos/masks").mkdir(parents=True)
    no_files(tmp_path / "photos")
    for name in ("a.png", "masks/a.png"):
        Image.new("L", (8, 8)).save(tmp_path / "photos" / name)
    dataset = ImageFolder(tmp_path / "photos", tmp_path / "photos/masks", max_unpaired=1.0)
    assert [path.name for path in dataset.images] == ["a.png"]
