"""One rule for annotations that make no sense, whichever command reads them."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from segtricks.cli import main
from segtricks.data.datamodule import SaliencyDataModule

BOXES = ([4, 4, 20, 20], [30, 10, 20, 30], [10, 20, 30, 20])


@pytest.fixture
def folder(tmp_path):
    """Photographs of 64 x 48 pixels with one object each, and perfect predictions."""
    for number, (x, y, width, height) in enumerate(BOXES):
        mask = np.zeros((48, 64), np.uint8)
        mask[y : y + height, x : x + width] = 255
        for kind, pixels in (("photos", np.repeat(mask[..., None], 3, axis=2)), ("pred", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / kind / f"im{number}.png")
    return tmp_path


def _coco():
    images = [{"id": i, "file_name": f"im{i}.png", "height": 48, "width": 64} for i in range(3)]
    annotations = []
    for i, (x, y, width, height) in enumerate(BOXES):
        outline = [x, y, x + width, y, x + width, y + height, x, y + height]
        annotations.append({"id": i, "image_id": i, "bbox": [x, y, width, height], "segmentation": [outline]})
    return {"images": images, "annotations": annotations}


def _with(where, number, **values):
    content = copy.deepcopy(_coco())
    content[where][number] |= values
    return content


def _double_id():
    content = _with("images", 1, id=0)
    content["annotations"][1]["image_id"] = 0
    return content


def _in_shares():
    content = _coco()
    for item in content["annotations"]:
        item["bbox"] = [side / whole for side, whole in zip(item["bbox"], (64, 48, 64, 48), strict=True)]
    return content


def _backslashes():
    content = _coco()
    for image in content["images"]:
        image["file_name"] = f"images\\{image['file_name']}"
    return content


SIZE = "its annotation states"
NONE = "none of its 1 boxes is usable"
CASES = {
    "sound": (_coco(), [], ""),
    "two images share an id": (_double_id(), ["im0", "im1"], "have the id 0, which is that of im0.png and im1.png"),
    "size transposed": (_with("images", 0, height=64, width=48), ["im0"], "64 x 48 pixels, its annotation 48 x 64"),
    "boxes in 0..1": (_in_shares(), [], ""),
    "box with nan": (_with("annotations", 0, bbox=[float("nan"), 4, 20, 20]), ["im0"], NONE),
    "negative box": (_with("annotations", 0, bbox=[24, 24, -20, -20]), ["im0"], NONE),
    "no height": (_with("images", 0, height=None), ["im0"], f"{SIZE} no size"),
    "size of zero": (_with("images", 0, height=0, width=0), ["im0"], f"{SIZE} the size 0 x 0"),
    "no box": (_with("annotations", 0, bbox=None), ["im0"], NONE),
    "foreign image id": (_with("annotations", 0, image_id=77), ["im0"], "it has no annotation, and its file has"),
    "paths of Windows": (_backslashes(), [], ""),
}
XML = (
    "<annotation><size><width>{}</width><height>{}</height></size><object><bndbox>"
    "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object></annotation>"
)
FIRST_XML = {
    "XML without a size": (XML.format(0, 0, 5, 5, 24, 24), f"{SIZE} the size 0 x 0"),
    "empty XML": ("", "is not a VOC annotation: no element found"),
}


def _write(folder, case):
    if case in CASES:
        path = folder / "c.json"
        path.write_text(json.dumps(CASES[case][0]))
        return path
    path = folder / "xml"
    path.mkdir()
    for number, (x, y, width, height) in enumerate(BOXES):
        text = XML.format(64, 48, x + 1, y + 1, x + width, y + height)
        (path / f"im{number}.xml").write_text(FIRST_XML[case][0] if number == 0 else text)
    return path


def _expected(case):
    if case in CASES:
        return CASES[case][1:]
    return ["im0"], FIRST_XML[case][1]


@pytest.mark.filterwarnings("ignore:.*c.json")
@pytest.mark.parametrize("case", [*CASES, *FIRST_XML])
def test_every_command_sets_the_same_images_aside_and_uses_the_others(folder, capsys, case):
    path, (aside, reason) = _write(folder, case), _expected(case)

    words = ["--predictions", str(folder / "pred"), "--boxes", str(path), "--output", str(folder / "r.json")]
    assert main(["evaluate", *words]) == 0
    result = json.loads((folder / "r.json").read_text())
    assert (result["metrics"]["corloc"], result["images"]) == (1, 3 - len(aside))
    skipped = {entry["path"]: entry["reason"] for entry in result["skipped"]}

    # What fit and test read.
    data = SaliencyDataModule("synthetic", [str(folder / "photos")], boxes=str(path), num_workers=0)
    data.check()
    batches = [batch for loader in data.test_dataloader() for batch in loader]
    skipped |= dict(pair for batch in batches for pair in batch["skipped"])
    assert [len(boxes) for batch in batches for boxes in batch["boxes"]] == [1] * (3 - len(aside))

    names = {f"{kind}/{name}.png" for kind in ("pred", "photos") for name in aside}
    assert {"/".join(path.split("/")[-2:]) for path in skipped} == names
    assert all(reason in why for why in skipped.values())

    capsys.readouterr()
    said = bool(data.about("photos").get("annotations"))
    assert main(["data", "verify", str(folder / "photos"), "--boxes", str(path)]) == (1 if aside or said else 0)
    printed = capsys.readouterr()
    assert f"{3 - len(aside)} of 3 images are sound" in printed.out + printed.err
    assert said == ("annotations that make no sense" in printed.out) == ("annotations" in result)


def test_the_counts_and_first_names_are_in_the_result_of_test(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    path = _write(folder, "no box")
    data = ["--data", "photos", "--data.boxes", str(path), "--data.num_workers", "0"]
    assert main(["test", "--config", "masks", "--model.folder", "pred", *data, "--name", "t"]) == 0
    result = json.loads((folder / "runs/t/test/photos.json").read_text())
    assert result["metrics"] == {"corloc": 1.0}
    assert [entry["reason"] for entry in result["skipped"]] == [NONE]
    (problems,) = result["annotations"]
    what = "annotations without a box of four finite numbers, not used"
    assert problems == {"path": str(path), "found": [{"what": what, "count": 1, "first": ["0 of im0.png"]}]}


@pytest.mark.parametrize("case", ["two images share an id", "no height", "size of zero", "size transposed"])
def test_outlines_are_set_aside_as_boxes_are(folder, case):
    path, (aside, _) = _write(folder, case), _expected(case)
    data = SaliencyDataModule("synthetic", [str(folder / "photos")], masks=str(path), num_workers=0)
    (batch,) = (batch for loader in data.test_dataloader() for batch in loader)
    assert [path.split("/")[-1] for path, _ in batch["skipped"]] == [f"{name}.png" for name in aside]
    assert len(batch["mask"]) == 3 - len(aside)
