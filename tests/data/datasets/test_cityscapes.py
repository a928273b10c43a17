import shutil

import pytest
import torch

from segtricks.cli import main
from segtricks.data import CityscapesVal, open_dataset
from segtricks.errors import UserError

from . import layouts

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")

# Of two cities, sorted: scene 1 of Bonn, scenes 0 and 2 of Ulm.
FIRST = 1


def _outside_the_own_car(values):
    return values[..., 4:]


def test_label_maps_have_the_27_classes_of_stego(tmp_path):
    dataset = open_dataset("cityscapes-val", layouts.cityscapes(tmp_path)).with_targets("labels")
    drawn = layouts.scenes()
    labels = dataset[FIRST]["target"]
    assert len(dataset.classes) == 27
    road, grass, sky = (dataset.classes.index(name) for name in ("road", "vegetation", "sky"))
    expected = torch.tensor([0, road, grass, sky])[drawn.read_labels(0)]
    stuff = _outside_the_own_car(drawn.read_labels(0)) > 0
    assert torch.equal(_outside_the_own_car(labels)[stuff], _outside_the_own_car(expected)[stuff])
    kinds = {dataset.classes[label] for label in _outside_the_own_car(labels)[~stuff].tolist()}
    assert kinds <= {"person", "car", "bicycle"}
    assert (labels[..., :4] == 255).all()


def test_panoptic_maps_have_8_things_and_11_stuff_and_groups_are_crowds(tmp_path):
    dataset = open_dataset("cityscapes-val", layouts.cityscapes(tmp_path)).with_targets("panoptic")
    drawn = layouts.scenes()
    found, semantic, _ = dataset[FIRST]["target"]
    objects = drawn.read_instances(0)
    # Person is the first thing, car the third, bicycle the last; road, vegetation and sky are stuff 1, 9 and 11.
    kinds = [(1, 3, 8)[label - 1] for label in objects.labels.tolist()]
    assert sorted(found.labels.tolist()) == sorted(kinds)
    assert found.labels[found.crowd].tolist() == kinds[:1]
    expected = torch.tensor([0, 1, 9, 11])[drawn.read_labels(0)]
    assert torch.equal(_outside_the_own_car(semantic), _outside_the_own_car(expected))
    mask = _outside_the_own_car(CityscapesVal(tmp_path)[FIRST]["target"][0])
    assert torch.equal(mask == 255, _outside_the_own_car(objects.masks[1:].any(dim=0)))


def test_verify_opens_both_kinds_of_maps(tmp_path, capsys):
    root = layouts.cityscapes(tmp_path)
    assert main(["data", "verify", "cityscapes-val", "--root", str(root)]) == 0
    assert "3 of 3 pairs are sound" in capsys.readouterr().out
    next(root.rglob("*_labelIds.png")).write_bytes(b"")
    assert main(["data", "verify", "cityscapes-val", "--root", str(root)]) == 1
    assert "labelIds.png (empty file)" in capsys.readouterr().out


def test_without_maps_there_are_photographs_alone(tmp_path):
    root = layouts.cityscapes(tmp_path)
    shutil.rmtree(root / "cityscapes/gtFine")
    assert len(CityscapesVal(root, require_masks=False)) == 3
    with pytest.raises(UserError, match=r"(?s)no map of 3 of its images.*Next: segtricks data download cityscapes-val"):
        CityscapesVal(root)


def test_download_says_what_to_fetch_by_hand(tmp_path, capsys):
    assert main(["data", "download", "cityscapes-val", "--root", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    for part in ("account", "gtFine_trainvaltest.zip from https://", "leftImg8bit_trainvaltest.zip", ".downloads"):
        assert part in said
