import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtricks.cli import main
from segtricks.commands import stages
from segtricks.commands.rounds import why_to_stop
from segtricks.pseudo_labels import Store, encode_mask, write_entry


@pytest.mark.parametrize(
    ("agreements", "stops"),
    [((0.5,), False), ((0.96,), True), ((0.5, 0.7), False), ((0.5, 0.96), True), ((0.8, 0.7), True)],
)
def test_rounds_end_once_masks_hardly_change_or_drift(agreements, stops):
    assert (why_to_stop(agreements, 0.95) is not None) == stops


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photographs of a bright square, and its masks."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("photos", "masks"):
        (folder / name).mkdir()
        for number in range(8):
            Image.fromarray(_square(number)).save(folder / f"{name}/{number}.png")
    return folder


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The commands of the rounds, in place of which masks are written that move by a pixel from round to round."""
    monkeypatch.chdir(tmp_path)
    made = []

    def call(words, home, hint):
        made.append(words)
        if words[0] == "fit":
            run = Path("runs", words[words.index("--name") + 1])
            run.mkdir(parents=True)
            return
        output, number = Path(words[words.index("--output") + 1]), int(words[words.index("--run") + 1][-1])
        for photo in Path(words[words.index("--images") + 1]).read_text().split():
            mask = np.roll(_square(int(Path(photo).stem)), number)
            write_entry(output, Path(photo).stem, Path(photo).name, mask.shape, [encode_mask(mask)])
        (output / "index.json").write_text("{}")

    monkeypatch.setattr(stages, "_call", call)
    return made


def _square(number):
    mask = np.zeros((32, 32), bool)
    mask[8:24, number : number + 16] = True
    return mask


def _words(data):
    words = ["--config", "selfmask", "--name", "run", "--data.train", str(data / "photos"), "--test", "none"]
    words += ["--data.masks", str(data / "masks"), "--data.size", "32", "--data.resize", "32", "--data.held_out", "2"]
    words += ["--data.num_workers", "0", "--data.batch_size", "3", "--model.backbone", "descriptor"]
    return [*words, "--model.num_layers", "1", "--trainer.accelerator", "cpu"]


def test_a_round_learns_the_masks_of_the_one_before_and_finished_ones_are_kept(data, tmp_path, calls, capsys):
    assert main(["fit", *_words(data), "--rounds", "1", "--until", "1"]) == 0
    assert [words[0] for words in calls] == ["fit", "predict"]
    calls.clear()
    assert main(["fit", "--resume", "--name", "run", "--rounds", "2"]) == 0
    fit, predict = calls
    assert [fit[0], predict[0]] == ["fit", "predict"], "the first round is finished"
    assert fit[fit.index("--name") + 1] == "run/round-2"
    assert [fit[i + 1] for i, word in enumerate(fit) if word == "--data.masks"][-1] == "runs/run/round-1/masks"
    lines = list(csv.DictReader((tmp_path / "runs/run/rounds.csv").open()))
    moved = (16 - 1) / (16 + 1)  # by one pixel of sixteen
    assert [float(line["agreement"]) for line in lines] == pytest.approx([moved, moved])
    assert "segtricks predict --run runs/run/round-2" in capsys.readouterr().out


def test_finished_rounds_are_kept_with_a_warning_of_the_options_that_they_lack(data, calls, capsys):
    assert main(["fit", *_words(data), "--rounds", "1"]) == 0
    assert main(["fit", "--resume", "--name", "run"]) == 0
    assert "kept as it was" not in capsys.readouterr().out
    calls.clear()
    assert main(["fit", "--resume", "--name", "run", "--model.num_layers", "2", "--data.batch_size=2"]) == 0
    said = capsys.readouterr().out
    assert "round 1 is kept as it was trained" in said
    assert "--data.batch_size 2 (it was 3); --model.num_layers 2 (it was 1)." in said
    assert not calls


@pytest.fixture
def detections(tmp_path, monkeypatch):
    """The commands of rounds of U2Seg, in place of which a detection is written, the surer the later the round."""
    monkeypatch.chdir(tmp_path)
    made = []

    def call(words, home, hint):
        made.append(words)
        run = Path("runs", words[words.index("--name" if words[0] == "fit" else "--run") + 1].removeprefix("runs/"))
        if words[0] == "fit":
            run.mkdir(parents=True)
            masks = [words[place + 1] for place, word in enumerate(words) if word == "--data.masks"][-1]
            (run / "config.yaml").write_text(json.dumps({"data": {"init_args": {"masks": masks}}}))
            return
        output = Path(words[words.index("--output") + 1])
        score = {"round-1": 0.69, "round-2": 0.9}[run.name]
        for photo in Path(words[words.index("--images") + 1]).read_text().split():
            number = int(Path(photo).stem)
            mask = encode_mask(np.roll(_square(number), 2), score, 3)
            write_entry(output, Path(photo).stem, Path(photo).name, (32, 32), [mask])
        (output / "index.json").write_text("{}")

    monkeypatch.setattr(stages, "_call", call)
    return made


def _u2seg_words(data):
    words = ["--config", "u2seg_small", "--name", "run", "--data.train", str(data / "photos"), "--test", "none"]
    return [*words, "--data.held_out", "2", "--data.masks", str(data / "masks"), "--model.drop_loss", "true"]


def test_rounds_of_instances_learn_sure_detections_from_the_weights_before(data, tmp_path, detections, capsys):
    assert main(["fit", *_u2seg_words(data), "--rounds", "2", "--until", "1", "--keep", "0.6"]) == 0
    assert [words[0] for words in detections] == ["fit", "predict"] * 2
    first, second = detections[0], detections[2]
    predict = detections[1]  # not to masks/, which are the first round's own pseudo-labels where it makes them
    assert predict[predict.index("--output") + 1] == "runs/run/round-1/detections"
    assert "--model.from_run" not in first and first[first.index("--model.drop_loss") + 1] == "true"
    options = {word: second[place + 1] for place, word in enumerate(second) if word.startswith("--")}
    assert options["--data.masks"] == "runs/run/round-1/next_labels"
    assert options["--model.from_run"] == "runs/run/round-1" and options["--model.drop_loss"] == "false"
    lines = list(csv.DictReader((tmp_path / "runs/run/rounds.csv").open()))
    assert [(line["found"], line["earlier"]) for line in lines] == [("8", "0")] * 2
    entry = Store.open(tmp_path / "runs/run/round-2/next_labels").entry("0")
    assert [(mask.class_id, mask.score) for mask in entry.masks] == [(3, 0.9)]


def test_rounds_of_instances_end_where_nothing_is_sure_enough_and_other_scores_are_not_mixed(data, detections, capsys):
    assert main(["fit", *_u2seg_words(data), "--rounds", "2", "--until", "1"]) == 0
    assert [words[0] for words in detections] == ["fit", "predict"]
    assert "No detection of round 1 has a score of 0.7 (--keep)" in capsys.readouterr().out
    assert main(["fit", "--resume", "--name", "run", "--keep", "0.5"]) == 0
    assert "is kept as it is, with the score 0.7 in place of 0.5" in capsys.readouterr().out


def test_one_name_is_not_used_for_two_series_of_rounds(data, tmp_path, calls, capsys):
    home = tmp_path / "runs/run"
    home.mkdir(parents=True)
    (home / "rounds.json").write_text(json.dumps({"words": [], "rounds": 1, "until": 0.9}))
    assert main(["fit", *_words(data), "--rounds", "1"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert not calls


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "synthetic", "--rounds", "2"], "for methods that learn masks"),
        (["--config", "selfmask", "--rounds", "0"], "not a number from 1"),
        (["--config", "selfmask", "--rounds", "2", "--until", "95"], "not above 0 and at most 1"),
        (["--rounds", "2"], "needs a config"),
    ],
)
def test_rounds_that_make_no_sense_are_refused(words, message, calls, capsys, tmp_path):
    assert main(["fit", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
