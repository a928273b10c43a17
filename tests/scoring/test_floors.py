from math import pi

import numpy as np
import pytest
from PIL import Image

from segtricks.data import ECSSD, ImageFolder
from segtricks.metrics import get_protocol
from segtricks.scoring.floors import ellipse, find_targets, floors, protocol_of


def pairs(folder, count=3):
    """Photographs, and masks whose upper ``1/(i + 2)`` is white."""
    for i in range(count):
        for kind, pixels in (("images", np.zeros((60, 80, 3))), ("masks", np.zeros((60, 80)))):
            (folder / kind).mkdir(exist_ok=True, parents=True)
            pixels[: 60 // (i + 2)] = 255
            Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{i}.png")
    return folder


def test_everything_foreground_scores_the_share_of_the_objects(tmp_path):
    folder = pairs(tmp_path)
    found = floors(ImageFolder(folder / "images", folder / "masks"), get_protocol("fullres"))
    share = (1 / 2 + 1 / 3 + 1 / 4) / 3
    assert found["everything foreground"]["iou"] == pytest.approx(share)
    assert found["everything foreground"]["acc"] == pytest.approx(share)  # no polarity: it is not turned over


def test_ellipse_is_centred_and_covers_its_area():
    mask = ellipse((301, 402))[0, 0]
    assert float(mask.mean()) == pytest.approx(0.45 * pi / 4, abs=1e-3)
    assert bool((mask == mask.flip(0)).all()) and bool((mask == mask.flip(1)).all())


@pytest.mark.filterwarnings("ignore:.*were published")
def test_floors_of_real_photographs_are_those_of_their_definition(photographs):
    dataset = ECSSD(photographs).part(0, 12)
    found = floors(dataset, get_protocol("fullres"))
    ious = []
    for path in dataset.masks:
        truth = np.asarray(Image.open(path).convert("L")) >= 128
        height, width = truth.shape
        y, x = np.mgrid[:height, :width] + 0.5
        mask = ((x - width / 2) / (width / 2)) ** 2 + ((y - height / 2) / (height / 2)) ** 2 < 0.45
        ious.append((mask & truth).sum() / (mask | truth).sum())
    assert found["centred ellipse"]["iou"] == pytest.approx(np.mean(ious), abs=1e-6)


def test_crop_protocol_scores_the_crop(tmp_path):
    """60 x 80 becomes 335 x 447, of which the middle 320 x 320 is scored: of the upper half its lower 160 rows."""
    folder = pairs(tmp_path, 1)
    found = floors(ImageFolder(folder / "images", folder / "masks"), get_protocol("two-tricks"))
    assert found["everything foreground"]["iou"] == pytest.approx(0.5, abs=0.01)


def test_targets_are_found_again_where_the_result_says_and_only_for_its_images(tmp_path):
    folder = pairs(tmp_path / "photos")
    images = [str(folder / "images" / f"{i}.png") for i in range(3)]
    source = {"test": ["ecssd", str(folder / "images")], "root": "data", "masks": str(folder / "masks")}
    found = find_targets("images", images[:2], source)
    assert [str(path) for path in found.images] == images[:2]
    assert [path.name for path in found.masks] == ["0.png", "1.png"]
    assert find_targets("images", images, {}) is None
    assert find_targets("ecssd", images, source) is None
    assert find_targets("images", [str(tmp_path / "other.png")], source) is None


def test_protocol_of_a_result_file_is_the_protocol_again():
    protocol = get_protocol("sod:beta2=1")
    assert protocol_of(protocol.as_dict() | {"refine_at": "model"}) == protocol
