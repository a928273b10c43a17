import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from segtricks.cli import main
from segtricks.data import SyntheticShapes
from segtricks.data.images import read_image, read_mask
from segtricks.experiments import run as experiment_run
from segtricks.metrics import MASK_MEASURES
from segtricks.refine import BILATERAL_PRESETS, guided_filter

GRID = """
title: Masks from elsewhere
protocol: fullres
data: [photos]
metrics: [iou]
runs:
  MOVE: {command: masks}
cells:
  - {labels: {method: MOVE, refiner: none}, run: MOVE, row: mask}
  - {labels: {method: MOVE, refiner: guided filter}, run: MOVE, row: mask + guided filter}
  - {labels: {method: MOVE, refiner: bilateral solver}, run: MOVE, row: mask + bilateral solver}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Four photographs with targets, coarse masks of them, and a grid, all in the current folder."""
    shapes = SyntheticShapes(4, 72)
    for folder in ("photos", "targets", "masks/photos"):
        (tmp_path / folder).mkdir(parents=True)
    for i in range(4):
        to_pil_image(shapes.read_image(i)).save(tmp_path / f"photos/{i}.jpg")
        target = shapes.read_mask(i)
        to_pil_image(target).save(tmp_path / f"targets/{i}.png")
        coarse = torch.nn.functional.avg_pool2d(target[None].float(), 9)[0].round().byte()
        to_pil_image(coarse).resize((72, 72), Image.Resampling.BILINEAR).save(tmp_path / f"masks/photos/{i}.png")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/grid.yaml").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    calls = []

    def execute(words, log, environment, lock):
        calls.append(words[3:])
        return main(words[3:])

    monkeypatch.setattr(experiment_run, "_execute", execute)
    return calls


WORDS = ["experiment", "mine", "--masks", "MOVE=masks", "--data.masks", "targets"]


def iou(mask, target):
    found, wanted = mask > 0.5, target > 0.5
    return float((found & wanted).sum() / (found | wanted).sum())


def test_rows_are_plain_filtered_and_solved_masks_at_the_photographs_size(here, capsys):
    assert main(WORDS) == 0
    rows = json.loads(Path("runs/mine/MOVE-photos/test/photos.json").read_text())["rows"]
    refiners = {
        "mask": lambda mask, image: mask,
        "mask + guided filter": lambda mask, image: guided_filter(mask, image, 9, 1e-3).clamp(0, 1),
        "mask + bilateral solver": BILATERAL_PRESETS["two-tricks"],
    }
    assert set(rows) == set(refiners)
    for row, refine in refiners.items():
        ious = []
        for i in range(4):
            mask = read_mask(Path(f"masks/photos/{i}.png"))[None] / 255
            image = read_image(Path(f"photos/{i}.jpg"))[None] / 255
            ious.append(iou(refine(mask, image), read_mask(Path(f"targets/{i}.png"))[None] / 255))
        assert rows[row]["iou"] == pytest.approx(np.mean(ious), abs=1e-5), row
    out = capsys.readouterr().out
    assert f"| MOVE | guided filter | {rows['mask + guided filter']['iou']:.4f} |" in out
    assert len({f"{metrics['iou']:.4f}" for metrics in rows.values()}) == 3


def test_plain_row_is_what_evaluate_gives_by_a_protocol_that_crops(here, tmp_path):
    assert main([*WORDS, "--protocol", "two-tricks"]) == 0
    words = [
        "--predictions",
        "masks/photos",
        "--targets",
        "targets",
        "--protocol",
        "two-tricks",
        "--output",
        "out.json",
    ]
    assert main(["evaluate", *words]) == 0
    evaluated = json.loads((tmp_path / "out.json").read_text())
    scored = json.loads((tmp_path / "runs/mine/MOVE-photos/test/photos-two-tricks.json").read_text())
    assert scored["protocol"]["polarity"] == evaluated["protocol"]["polarity"] == "none"
    for key in MASK_MEASURES:
        assert scored["rows"]["mask"][key] == pytest.approx(evaluated["metrics"][key], abs=1e-6), key


def test_finished_masks_are_not_scored_again_and_without_masks_nothing_is_run(here, tmp_path, capsys):
    assert main(["experiment", "mine", "--data.masks", "targets"]) == 0
    assert here == []
    assert "| MOVE | none | - |" in capsys.readouterr().out
    assert main(WORDS) == 0
    assert main(WORDS) == 0
    assert len(here) == 1
    assert "finished before" in capsys.readouterr().out


def test_masks_of_one_set_may_lie_in_the_folder_itself_and_several_sets_need_a_folder_each(here, capsys):
    assert main([*WORDS[:2], "--masks", "MOVE=masks/photos", "--data.masks", "targets", "--subset", "2"]) == 0
    assert here[0][here[0].index("--model.folder") + 1] == "masks/photos"
    assert main([*WORDS, "--data", "photos", "ecssd", "--name", "x"]) == 2
    error = capsys.readouterr().err
    assert "there is no folder masks/ecssd with the masks of ecssd" in error


def test_photographs_without_a_mask_are_named(here, tmp_path, capsys):
    (tmp_path / "masks/photos/2.png").unlink()
    assert main(WORDS) == 1
    error = capsys.readouterr()
    assert "1 of the 4 photographs of photos have no mask of their name in masks/photos: 2.jpg" in error.err + error.out
    assert not list((tmp_path / "runs/mine/MOVE-photos/test").glob("*.json"))


def test_one_unreadable_mask_is_skipped_and_listed(here, tmp_path):
    (tmp_path / "masks/photos/2.png").write_bytes(b"no picture")
    (tmp_path / "masks/photos/other.png").write_bytes(b"nobody asks for it")
    assert main(WORDS) == 0
    content = json.loads((tmp_path / "runs/mine/MOVE-photos/test/photos.json").read_text())
    assert content["images"] == 3
    assert [entry["path"] for entry in content["skipped"]] == ["masks/photos/2.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--masks", "FOUND=masks"], "Masks are asked for here: MOVE"),
        (["--masks", "masks"], "write METHOD=DIR"),
        (["--masks", "MOVE=nowhere"], "there is no folder nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_runs(here, capsys, words, said):
    assert main(["experiment", "mine", *words]) == 2
    assert said in capsys.readouterr().err
    assert here == []


def test_result_can_be_compared_and_reported(here, capsys):
    assert main(WORDS) == 0
    assert main(["compare", "runs/mine/MOVE-photos", "--output", "out"]) == 0
    assert "mask + bilateral solver" in capsys.readouterr().out
    assert main(["report", "runs/mine/MOVE-photos"]) == 0


def test_how_the_masks_are_read_is_said_and_kept_in_the_result(here, capsys):
    for path in Path("masks/photos").iterdir():
        mask = np.asarray(Image.open(path)) > 127
        Image.fromarray(mask.astype(np.uint8)).save(path)
    assert (
        main(["test", "--config", "masks", "--model.folder", "masks", "--data", "photos", "--data.masks", "targets"])
        == 0
    )
    assert capsys.readouterr().err.count("masks: masks hold 0 and 1 and are read as 0 and 255") == 1
    (result,) = Path("runs").glob("*/test/photos.json")
    assert json.loads(result.read_text())["reading"]["predictions"]["white"] == 1
