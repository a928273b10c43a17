import numpy as np
import pytest
import torch

from segtricks.cli import main
from segtricks.data import COCOStuff27Val, open_dataset
from segtricks.data.datasets.classed import mapped_labels
from segtricks.data.datasets.coco_stuff import _TABLE
from segtricks.errors import UserError

from . import layouts

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")


def test_each_of_the_182_ids_has_one_of_27_classes(tmp_path):
    layouts.save(tmp_path / "ids.png", np.arange(182, dtype=np.uint8).reshape(13, 14))
    labels = mapped_labels(tmp_path / "ids.png", _TABLE).flatten()
    names = COCOStuff27Val.classes
    assert sorted(labels.unique().tolist()) == list(range(27))
    # COCO-Stuff's ids less 1: person, car, dog, chair, book, sand, sky-other, tree, wall-brick, water-other.
    ids = [0, 2, 17, 61, 83, 153, 156, 168, 170, 177]
    expected = ["person", "vehicle", "animal", "furniture", "indoor", "ground", "sky", "plant", "wall", "water"]
    assert [names[labels[number]] for number in ids] == expected
    assert (labels[:91] < 12).all() and (labels[91:] >= 12).all()


def test_the_list_decides_which_photographs_count(tmp_path):
    drawn, names = layouts.scenes(), layouts.stems(3)
    dataset = open_dataset("coco-stuff27-val", layouts.coco_stuff27(tmp_path)).with_targets("labels")
    assert [path.stem for path in dataset.images] == sorted(names[:2])
    labels = dataset[sorted(names[:2]).index(names[0])]["target"]
    classes = [dataset.classes.index(name) for name in ("plant", "water", "ground")]
    expected = torch.tensor([0, *classes])[drawn.read_labels(0)]
    stuff = (drawn.read_labels(0) > 0) & (torch.arange(64) >= 4)
    assert torch.equal(labels[stuff], expected[stuff])
    assert (labels[..., :4] == 255).all()
    mask = COCOStuff27Val(tmp_path).read_mask(sorted(names[:2]).index(names[0]))
    assert torch.equal(mask[..., 4:] == 255, (drawn.read_labels(0) == 0)[..., 4:])


def test_the_folders_of_stego_are_read(tmp_path):
    old = layouts.coco_stuff27(tmp_path) / "coco"
    new = tmp_path / "cocostuff"
    for source, target in (("val2017", "images/val2017"), ("stuffthingmaps/val2017", "annotations/val2017")):
        (new / target).parent.mkdir(parents=True, exist_ok=True)
        (old / source).rename(new / target)
    (old / "curated").rename(new / "curated")
    assert len(COCOStuff27Val(tmp_path)) == len(COCOStuff27Val(new)) == 2


def test_an_id_that_does_not_exist_is_a_fault(tmp_path, capsys):
    root = layouts.coco_stuff27(tmp_path)
    assert main(["data", "verify", "coco-stuff27-val", "--root", str(root)]) == 0
    assert "2 of 2 pairs are sound" in capsys.readouterr().out
    layouts.save(root / f"coco/stuffthingmaps/val2017/{layouts.stems(3)[0]}.png", np.full((64, 64), 182, np.uint8))
    assert main(["data", "verify", "coco-stuff27-val", "--root", str(root)]) == 1
    assert "holds the id 182" in capsys.readouterr().out


@pytest.mark.parametrize("lost", ["curated/val2017/Coco164kFull_Stuff_Coarse_7.txt", "stuffthingmaps/val2017/{}.png"])
def test_missing_lists_and_maps_say_what_to_type(tmp_path, lost):
    root = layouts.coco_stuff27(tmp_path)
    (root / "coco" / lost.format(layouts.stems(3)[0])).unlink()
    with pytest.raises(UserError, match=r"(?s)no (list|label map).*Next: segtricks data download coco-stuff27-val"):
        COCOStuff27Val(root)
