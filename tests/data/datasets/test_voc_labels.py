from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from segtricks.cli import main
from segtricks.data import UnreadableImage, open_dataset
from segtricks.data.datasets.voc_labels import VOC_CLASSES, VOC12Train, VOC12TrainAug, VOC12Val
from segtricks.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")

LABELS = np.array([[0, 0, 15, 255], [0, 12, 12, 20]], np.uint8)


def _picture(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels, "P")
    picture.putpalette([(37 * i) % 256 for i in range(768)])  # colours that say nothing about the class
    picture.save(path)


@pytest.fixture
def devkit(tmp_path, write):
    """Photographs a to f: a of train, b of val, c and d of SBD alone, e of val in SBD too, f without labels."""
    folder = tmp_path / "VOCdevkit/VOC2012"
    for stem in "abcdef":
        write(folder / f"JPEGImages/{stem}.jpg", size=(4, 2))
    for stem in "abe":
        _picture(folder / f"SegmentationClass/{stem}.png", LABELS)
    lists = folder / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("e\nb\n")
    return tmp_path


def _stems(dataset):
    return [path.stem for path in dataset.images]


def test_train_and_val_are_their_lists_with_every_class(devkit):
    assert _stems(VOC12Train(devkit)) == ["a"]
    dataset = VOC12Val(devkit).with_targets("labels")
    assert _stems(dataset) == ["b", "e"]
    sample = dataset[0]
    assert sample["target_kind"] == "labels"
    assert torch.equal(sample["target"][0], torch.from_numpy(LABELS).long())
    assert len(VOC_CLASSES) == 21 and VOC_CLASSES[15] == "person"


def test_as_masks_they_are_all_objects_without_undecided_borders(devkit):
    mask = VOC12Val(devkit)[0]["target"]
    assert mask[0].tolist() == [[0, 0, 255, 0], [0, 255, 255, 255]]


@pytest.mark.parametrize("layout", ["pictures", "matrices"])
def test_trainaug_is_train_and_sbd_without_val_and_voc_comes_first(devkit, layout):
    other = np.full_like(LABELS, 3)
    for stem in "acde":
        if layout == "pictures":
            _picture(devkit / f"VOCdevkit/VOC2012/SegmentationClassAug/{stem}.png", other)
        else:
            path = devkit / f"benchmark_RELEASE/dataset/cls/{stem}.mat"
            path.parent.mkdir(parents=True, exist_ok=True)
            savemat(path, {"GTcls": {"Segmentation": other}})
    dataset = open_dataset("voc12-trainaug", devkit).with_targets("labels")
    assert _stems(dataset) == ["a", "c", "d"]
    assert torch.equal(dataset[0]["target"][0], torch.from_numpy(LABELS).long())
    assert dataset[1]["target"].unique().tolist() == [3]


def test_a_damaged_matrix_is_one_unreadable_image(devkit):
    path = devkit / "benchmark_RELEASE/dataset/cls/c.mat"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UnreadableImage, match="damaged"):
        VOC12TrainAug(devkit)[1]


def test_a_class_that_voc_does_not_have_is_a_fault(devkit, capsys):
    _picture(devkit / "VOCdevkit/VOC2012/SegmentationClass/b.png", LABELS + np.uint8(10))
    assert main(["data", "verify", "voc12-val", "--root", str(devkit)]) == 1
    assert "holds the class 25" in capsys.readouterr().out


def test_verify_finds_no_fault_in_sound_label_maps(devkit, capsys):
    assert main(["data", "verify", "voc12-val", "--root", str(devkit)]) == 0
    assert "2 of 2 pairs are sound; masks: classes (2)" in capsys.readouterr().out


def test_missing_label_maps_and_lists_say_what_to_type(devkit):
    (devkit / "VOCdevkit/VOC2012/SegmentationClass/b.png").unlink()
    with pytest.raises(UserError, match=r"no label map of 1 of its images, such as b.\nNext: segtricks data download"):
        VOC12Val(devkit)
    assert _stems(VOC12Val(devkit, require_masks=False)) == ["b", "e"]
    (devkit / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt").unlink()
    with pytest.raises(UserError, match="no list"):
        VOC12Train(devkit)


def test_real_label_maps(photographs):
    dataset = VOC12Val(photographs).with_targets("labels")
    assert len(dataset) == 46
    assert dataset[0]["target"].max() <= 255
