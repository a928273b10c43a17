import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from segtricks.data.boxes import ImageBoxes
from segtricks.data.orientation import is_turned, turn, turn_boxes


@pytest.mark.parametrize("orientation", range(9))
def test_pixels_and_boxes_turn_as_pillow_turns_the_photograph(tmp_path, orientation):
    pixels = np.zeros((5, 8), np.uint8)
    pixels[1:3, 2:7] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    upright = torch.from_numpy(np.array(ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))))
    assert torch.equal(turn(torch.from_numpy(pixels), orientation), upright)

    turned = turn_boxes(ImageBoxes((5, 8), torch.tensor([[2.0, 1, 7, 3]])), orientation)
    rows, columns = upright.nonzero().unbind(1)
    around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert turned.boxes.tolist() == [[float(side) for side in around]]
    assert turned.size == tuple(upright.shape)


def test_no_boxes_turn_too():
    assert turn_boxes(ImageBoxes((5, 8), torch.empty(0, 4)), 6).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("size", "other", "turned"),
    [
        ((60, 80), (80, 60), True),
        ((60, 80), (120, 160), False),
        ((60, 80), (160, 120), False),  # of a network that gives 60 x 80 whatever it is shown
        ((64, 64), (80, 60), False),  # of a network that squeezes to a square
        ((80, 80), (80, 80), False),
    ],
)
def test_a_quarter_turn_is_told_from_another_scale(size, other, turned):
    assert is_turned(size, other) is turned
