import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtricks.cli import main
from segtricks.errors import UserError
from segtricks.packaged import find_config, packaged_configs


def result(folder, name="synthetic-14-18"):
    return json.loads((folder / f"runs/small/test/{name}.json").read_text())


def test_result_holds_protocol_counts_and_both_rows(trained, monkeypatch):
    monkeypatch.chdir(trained)
    assert main(["test", "--run", "small"]) == 0
    content = result(trained)
    assert content["protocol"]["name"] == "fullres"
    assert content["protocol"]["refine_at"] == "model"
    assert content["images"] == 4
    assert content["skipped"] == []
    assert content["metrics"] == content["rows"]["mask + guided filter"]
    assert set(content["rows"]) == {"mask", "mask + guided filter"}


def test_scores_of_test_equal_those_of_the_written_masks(trained, tmp_path, monkeypatch):
    """An independent way to the same figures: predict to files, compare them pixel by pixel."""
    from torchvision.transforms.v2.functional import to_pil_image

    from segtricks.data import SyntheticShapes

    shapes = SyntheticShapes(4, 37, seed=9)
    for folder in ("images", "ground_truth_mask"):
        (tmp_path / "ECSSD" / folder).mkdir(parents=True)
    for i in range(4):
        to_pil_image(shapes.read_image(i)).save(tmp_path / f"ECSSD/images/{i}.png")
        to_pil_image(shapes.read_mask(i)).save(tmp_path / f"ECSSD/ground_truth_mask/{i}.png")
    monkeypatch.chdir(trained)
    options = ["--data.root", str(tmp_path), "--model.guided_filter", "false"]
    with pytest.warns(UserWarning, match="1,000"):
        assert main(["test", "--run", "small", "--data", "ecssd", *options]) == 0
    words = ["--images", str(tmp_path / "ECSSD/images"), "--output", str(tmp_path / "out"), *options[2:]]
    assert main(["predict", "--run", "small", *words]) == 0
    ious, accuracies = [], []
    for i in range(4):
        mask = np.asarray(Image.open(tmp_path / f"out/binary/{i}.png")) > 0
        truth = shapes.read_mask(i)[0].numpy() > 0
        ious.append((mask & truth).sum() / (mask | truth).sum())
        accuracies.append((mask == truth).mean())
    metrics = result(trained, "ecssd")["rows"]["mask"]
    assert metrics["iou"] == pytest.approx(np.mean(ious), abs=1e-6)
    assert metrics["acc"] == pytest.approx(np.mean(accuracies), abs=1e-6)


def test_papers_protocol_crops_to_320_and_is_written_down(trained, monkeypatch):
    monkeypatch.chdir(trained)
    words = ["--protocol", "two-tricks", "--data", "synthetic[18:20]"]
    assert main(["test", "--run", "small", *words]) == 0
    protocol = result(trained, "synthetic-18-20-two-tricks")["protocol"]
    assert (protocol["resize"], protocol["size"], protocol["bn_mode"]) == (335, 320, "batch")


def test_test_never_trains(trained, monkeypatch):
    monkeypatch.chdir(trained)
    before = (trained / "runs/small/checkpoints/best.ckpt").read_bytes()
    assert main(["test", "--run", "small", "--protocol", "two-tricks", "--data", "synthetic[18:20]"]) == 0
    assert (trained / "runs/small/checkpoints/best.ckpt").read_bytes() == before


def test_validate_prints_the_objective_that_chose_the_checkpoint(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    assert main(["validate", "--run", "small", "--trainer.enable_progress_bar", "false"]) == 0
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("loss", "ncut ")))
    rows = [line.split(",") for line in (trained / "runs/small/metrics.csv").read_text().splitlines()]
    column = rows[0].index("val/loss")
    assert float(lines["loss"]) == pytest.approx(min(float(row[column]) for row in rows[1:] if row[column]), rel=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--run runs/NAME"),
        (["--run", "nine"], "runs/small"),
        (["--run", "small", "--protocol", "full"], "fullres, two-tricks"),
        (["--run", "small", "--data", "ecsd"], "ecssd"),
        (["--run", "small", "--model.backbone", "descriptor16"], "patch_size 4 (here 16)"),
        (["--run", "small", "--ckpt_path", "nine.ckpt"], "nine.ckpt"),
    ],
)
def test_mistakes_are_one_or_two_lines(trained, monkeypatch, capsys, words, said):
    monkeypatch.chdir(trained)
    assert main(["test", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) <= 2


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "mapping"), (b"- a", "mapping"), (b"a: {b", "line 1"), (b"\x80\xff", "not valid")],
)
def test_file_that_is_no_config_is_named(tmp_path, monkeypatch, capsys, content, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_bytes(content)
    assert main(["fit", "--config", "mine.yaml"]) == 2
    error = capsys.readouterr().err
    assert "mine.yaml" in error
    assert said in error


@pytest.mark.parametrize("name", ["demo", "demo.yaml", "configs/demo.yaml"])
def test_packaged_configs_are_found_from_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == packaged_configs()["demo"]


def test_local_file_comes_before_a_packaged_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.yaml").touch()
    assert str(find_config("demo.yaml")) == "demo.yaml"
    with pytest.raises(UserError, match=r"Packaged: .*demo,"):
        find_config("elsewhere/demo2.yaml")


def test_test_sets_may_be_given_one_by_one_and_what_is_missing_makes_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["test", "--config", "lost", "--model.backbone", "descriptor", "--data.size", "32", "--name", "x"]
    assert main([*words, "--data", "synthetic[:1]", "--data", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not Path("runs").exists()
    assert main([*words, "--data", "synthetic[:1]", "--data", "synthetic[1:2]"]) == 0
    assert sorted(path.stem for path in Path("runs/x/test").glob("*.json")) == ["synthetic-0-1", "synthetic-1-2"]


@pytest.fixture
def bordered(tmp_path, monkeypatch):
    """Photographs whose masks are 0 and 1 with a border of 255, and predictions that are right within it."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        mask = np.zeros((16, 20), np.uint8)
        mask[4:12, 4 : 10 + number] = 1
        mask[3, :] = 255
        prediction = np.where(mask, 255, 0).astype(np.uint8)
        for folder, pixels in (("gt", mask), ("pred", prediction), ("photos", np.dstack([prediction] * 3))):
            Path(folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(f"{folder}/{number}.png")
    return ["test", "--config", "masks", "--model.folder", "pred", "--data", "photos", "--data.masks", "gt"]


def test_classes_are_refused_until_it_is_said_what_they_mean_and_then_scored_as_evaluate_does(bordered, capsys):
    assert main([*bordered, "--name", "a"]) == 2
    assert "hold the values 0, 1, 255" in capsys.readouterr().err
    words = ["--data.foreground", "1", "--data.ignore", "[255]", "--data.num_workers", "0"]
    assert main([*bordered, *words, "--name", "b"]) == 0
    tested = json.loads(Path("runs/b/test/photos.json").read_text())
    choices = ["--foreground", "1", "--ignore", "255", "--output", "r.json"]
    assert main(["evaluate", "--predictions", "pred", "--targets", "gt", *choices]) == 0
    evaluated = json.loads(Path("r.json").read_text())
    assert tested["rows"]["mask"] == pytest.approx(evaluated["metrics"], abs=1e-6)
    assert tested["rows"]["mask"]["iou"] == 1
    assert tested["reading"] == {"masks": evaluated["reading"]["targets"]}
    assert (tested["source"]["foreground"], tested["source"]["ignore"]) == ([1], [255])


@pytest.mark.parametrize(("value", "said"), [(0, "without foreground"), (255, "foreground everywhere")])
def test_targets_of_nothing_or_everything_are_the_first_thing_said(bordered, capsys, value, said):
    for path in Path("gt").iterdir():
        Image.new("L", (20, 16), value).save(path)
    capsys.readouterr()
    assert main([*bordered, "--name", "a", "--data.num_workers", "0"]) == 0
    assert f"segtricks: warning: photos: all targets are {said}." in capsys.readouterr().out.split("test set")[0]


@pytest.mark.parametrize(("value", "said"), [(0, "without foreground"), (255, "foreground everywhere")])
def test_masks_of_nothing_or_everything_are_the_first_thing_said(bordered, capsys, value, said):
    for path in Path("pred").iterdir():
        Image.new("L", (20, 16), value).save(path)
    words = ["--data.foreground", "1", "--data.ignore", "[255]", "--data.num_workers", "0"]
    assert main([*bordered, *words, "--name", "a"]) == 0
    said = f"segtricks: warning: photos: all masks of the row 'mask' are {said}."
    # Ignored pixels are background in the predictions: full ones are not full.
    assert (said in capsys.readouterr().out.split("test set")[0]) == (value == 0)
