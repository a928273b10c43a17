from pathlib import Path

import pytest

from segtricks.data.pairing import one_per_stem, pair
from segtricks.errors import UserError


def stem(path: Path) -> str:
    return path.stem


def test_of_several_files_the_wanted_suffix_wins_then_the_less_nested_then_the_name() -> None:
    paths = [
        Path(p) for p in ("m/a.jpg", "m/a.PNG", "m/b.tif", "m/m/b.tif", "m/c.gif", "m/c.bmp", "m/m/d.png", "m/d.jpg")
    ]
    chosen = one_per_stem(paths, stem, ".png")
    assert chosen == {"a": Path("m/a.PNG"), "b": Path("m/b.tif"), "c": Path("m/c.bmp"), "d": Path("m/m/d.png")}


def test_masks_come_in_the_order_of_the_images() -> None:
    masks = {name: Path(f"masks/{name}.png") for name in "abc"}
    assert pair("set", [Path("c.jpg"), Path("a.jpg"), Path("b.jpg")], stem, masks) == [
        masks["c"],
        masks["a"],
        masks["b"],
    ]


def test_images_without_a_mask_are_counted_and_the_first_named() -> None:
    images = [Path(f"{i}.jpg") for i in range(6)]
    with pytest.raises(UserError, match=r"set: 5 of its images have no mask of the same name: 1, 2, 3, …"):
        pair("set", images, stem, {"0": Path("0.png")})


def test_masks_without_an_image_are_named_too() -> None:
    masks = {name: Path(f"{name}.png") for name in "ab"}
    with pytest.raises(UserError, match=r"set: 1 of its masks have no image of the same name: b\."):
        pair("set", [Path("a.jpg")], stem, masks)
