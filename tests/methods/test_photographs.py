import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.errors import UserError
from segtricks.methods.photographs import as_pixels, is_one

PIXELS = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)


def test_a_path_an_image_and_an_array_are_the_same_pixels(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    expected = torch.from_numpy(PIXELS).permute(2, 0, 1)
    for photograph in (path, str(path), Image.open(path), PIXELS):
        assert torch.equal(as_pixels(photograph), expected)


def test_a_rotated_image_stands_upright_as_its_file_does(tmp_path):
    path, exif = tmp_path / "a.png", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(path, exif=exif)
    assert torch.equal(as_pixels(Image.open(path)), as_pixels(path)) and as_pixels(path).shape == (3, 7, 5)


@pytest.mark.parametrize("mode", ["transparent", "sixteen bits"])
def test_images_of_other_modes_are_read_as_their_files_are(tmp_path, mode):
    path = tmp_path / "a.png"
    if mode == "transparent":
        Image.fromarray(np.dstack([PIXELS, np.zeros((5, 7), np.uint8)])).save(path)
    else:
        Image.fromarray(np.arange(35, dtype=np.uint16).reshape(5, 7) * 1800).save(path)
    assert torch.equal(as_pixels(Image.open(path)), as_pixels(path))


def test_one_and_many_are_told_apart():
    assert is_one("a.jpg") and is_one(PIXELS) and not is_one(["a.jpg"]) and not is_one((PIXELS,))


@pytest.mark.parametrize("wrong", [PIXELS[..., :1], PIXELS / 255, PIXELS[0], 3, None])
def test_anything_else_is_refused_with_what_is_legal(wrong):
    with pytest.raises(UserError, match=r"uint8 RGB array \(H, W, 3\)"):
        as_pixels(wrong)
    if not isinstance(wrong, np.ndarray):
        with pytest.raises(UserError, match="Pass a path"):
            is_one(wrong)
