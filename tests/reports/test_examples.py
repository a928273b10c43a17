import io
import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from segtricks.metrics import get_protocol, image_scores
from segtricks.reports import examples
from segtricks.reports.examples import TestExamples, small_jpeg

TestExamples.__test__ = False


def run_test(folder, coverages, count=1, refine=False, protocol="fullres"):
    """Let the callback see images whose mask covers so many of 100 columns of a full target."""
    callback = TestExamples(folder, count)
    choices = get_protocol(protocol)
    module = SimpleNamespace(protocol=choices, refine_predictions=refine)
    trainer = SimpleNamespace(is_global_zero=True, datamodule=SimpleNamespace(test_names=["ecssd[:9]"]))
    for i, covered in enumerate(coverages):
        mask = torch.zeros(1, 40, 100)
        mask[..., :covered] = 1
        target, photo = torch.full((1, 40, 100), 255).byte(), torch.full((3, 40, 100), 90).byte()
        batch = {"path": [f"images/{i}.jpg"], "photo": [photo], "mask": [target]}
        outputs = {"mask": [mask], "mask + guided filter": [1 - mask]}
        module.batch_scores = {row: [image_scores(m[0][None], target[None], choices)] for row, m in outputs.items()}
        callback.on_test_batch_end(trainer, module, outputs, batch, i)
    callback.on_test_end(trainer, module)


def index(folder, name="ecssd-0-9-examples"):
    return json.loads((folder / "test" / name / "index.json").read_text())["examples"]


def test_best_median_and_worst_are_written_with_their_pictures(tmp_path):
    run_test(tmp_path, [30, 90, 50, 10, 70])
    found = index(tmp_path)
    assert [(e["group"], e["image"], e["iou"]) for e in found] == [
        ("best", "images/1.jpg", pytest.approx(0.9)),
        ("median", "images/2.jpg", pytest.approx(0.5)),
        ("worst", "images/3.jpg", pytest.approx(0.1)),
    ]
    folder = tmp_path / "test" / "ecssd-0-9-examples"
    assert set(found[0]["pictures"]) == {"photograph", "mask", "mask + guided filter", "target"}
    with Image.open(folder / found[0]["pictures"]["mask"]) as mask:
        assert mask.convert("L").getpixel((70, 20)) > 240
        assert mask.convert("L").getpixel((97, 20)) < 15


def test_choice_is_by_the_mask_that_the_model_predicts(tmp_path):
    run_test(tmp_path, [30, 90, 50], refine=True)
    assert [e["image"] for e in index(tmp_path)] == ["images/0.jpg", "images/2.jpg", "images/1.jpg"]


def test_memory_is_bounded_and_the_choice_stays_right(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "_ROOM", 12)
    order = torch.randperm(101).tolist()
    run_test(tmp_path, order, count=2)
    ious = [e["iou"] for e in index(tmp_path)]
    assert ious[:2] == [1, pytest.approx(0.99)]
    assert ious[2:4] == [pytest.approx(0.5, abs=0.1)] * 2
    assert ious[4:] == [pytest.approx(0.01), 0]


def test_another_test_replaces_the_pictures_and_another_protocol_does_not(tmp_path):
    run_test(tmp_path, [10, 20, 30, 40, 50, 60], count=2)
    run_test(tmp_path, [10, 20, 30])
    run_test(tmp_path, [10], protocol="sod")
    assert len(index(tmp_path)) == 3
    names = {entry["pictures"]["mask"] for entry in index(tmp_path)}
    assert {path.name for path in (tmp_path / "test" / "ecssd-0-9-examples").glob("*-mask.jpg")} == names
    assert len(index(tmp_path, "ecssd-0-9-sod-examples")) == 1
    assert not list((tmp_path / "test").glob(".*"))


def test_pictures_are_small():
    with Image.open(io.BytesIO(small_jpeg(torch.rand(3, 900, 1800)))) as image:
        assert image.size == (320, 160)
