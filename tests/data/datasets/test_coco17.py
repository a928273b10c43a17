import json
import shutil

import pytest
import torch
from PIL import Image

from segtricks.cli import main
from segtricks.data import COCO17Val, open_dataset
from segtricks.errors import UserError

from . import layouts

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")


def test_objects_have_coco_s_categories_and_crowds(tmp_path):
    drawn = layouts.scenes()
    dataset = open_dataset("coco17-val", layouts.coco17(tmp_path)).with_targets("panoptic")
    assert [path.stem for path in dataset.images] == sorted(layouts.stems(3))
    place = sorted(layouts.stems(3)).index(layouts.stems(3)[0])
    found, semantic, _ = dataset[place]["target"]
    expected = drawn.read_instances(0)
    assert sorted(found.labels.tolist()) == sorted(layouts.THINGS[label - 1] for label in expected.labels.tolist())
    assert torch.equal(found.masks[found.crowd], expected.masks[:1])
    assert (semantic == 255).all()
    others = expected.masks[1:].any(dim=0)
    assert torch.equal(COCO17Val(tmp_path)[place]["target"][0] == 255, others)


def test_photographs_may_lie_in_images(tmp_path):
    layouts.coco17(tmp_path)
    (tmp_path / "coco/images").mkdir()
    (tmp_path / "coco/val2017").rename(tmp_path / "coco/images/val2017")
    for root in (tmp_path, tmp_path / "coco"):
        assert len(COCO17Val(root)) == 3


def test_photographs_alone_need_no_annotations(tmp_path):
    shutil.rmtree(layouts.coco17(tmp_path) / "coco/annotations")
    assert COCO17Val(tmp_path, require_masks=False).masks is None
    with pytest.raises(UserError, match=r"(?s)instances_val2017.*Next: segtricks data download coco17-val"):
        COCO17Val(tmp_path)


def test_a_photograph_that_the_annotations_do_not_list_is_left_out_and_named(tmp_path, capsys):
    layouts.coco17(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "coco/val2017/other.jpg")
    assert len(COCO17Val(tmp_path)) == 3
    assert main(["data", "verify", "coco17-val", "--root", str(tmp_path)]) == 1
    assert "image without a mask" in capsys.readouterr().out


def test_verify_finds_a_damaged_outline(tmp_path, capsys):
    layouts.coco17(tmp_path)
    assert main(["data", "verify", "coco17-val", "--root", str(tmp_path)]) == 0
    assert "3 of 3 pairs are sound" in capsys.readouterr().out
    path = tmp_path / "coco/annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][2]["segmentation"]["counts"] = "00"
    path.write_text(json.dumps(content))
    assert main(["data", "verify", "coco17-val", "--root", str(tmp_path)]) == 1
    assert "do not add up to 64 x 64 pixels" in capsys.readouterr().out


def test_real_annotations(photographs, tmp_path):
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/train2017").symlink_to(photographs / "coco/images")
    (tmp_path / "coco/annotations").mkdir()
    (source,) = (photographs / "coco/annotations").glob("*.json")
    (tmp_path / "coco/annotations/instances_train2017.json").symlink_to(source)
    dataset = open_dataset("coco17-train", tmp_path).with_targets("instances")
    assert len(dataset) == 128
    assert sum(len(dataset.read_target(index).labels) for index in range(128)) == 939
