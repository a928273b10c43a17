from pathlib import Path

import pytest
import torch
from PIL import Image

from segtricks.data.boxes import ImageBoxes, find_boxes
from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.label_store import Store
from segtricks.data.mask_pairs import pair_masks
from segtricks.data.pairing import LeftOut, by_ending, doubles, one_per_stem, pair
from segtricks.errors import UserError


def stem(path: Path) -> str:
    return path.stem


def test_of_several_files_the_wanted_suffix_wins_then_the_less_nested_then_the_name() -> None:
    paths = [
        Path(p) for p in ("m/a.jpg", "m/a.PNG", "m/b.tif", "m/m/b.tif", "m/c.gif", "m/c.bmp", "m/m/d.png", "m/d.jpg")
    ]
    chosen = one_per_stem(paths, stem, ".png")
    assert chosen == {"a": Path("m/a.PNG"), "b": Path("m/b.tif"), "c": Path("m/c.bmp"), "d": Path("m/m/d.png")}


def test_files_that_were_not_chosen_are_named() -> None:
    paths = [Path(p) for p in ("a.jpg", "a.png", "b.jpg")]
    assert doubles(paths, one_per_stem(paths, stem, ".png")) == [LeftOut(Path("a.jpg"), "double")]


def test_masks_come_in_the_order_of_the_images() -> None:
    masks = {name: Path(f"masks/{name}.png") for name in "abc"}
    images = [Path("c.jpg"), Path("a.jpg"), Path("b.jpg")]
    assert pair("set", images, stem, masks) == (images, [masks["c"], masks["a"], masks["b"]], [])


def test_images_without_a_mask_are_counted_and_the_first_named() -> None:
    images = [Path(f"{i}.jpg") for i in range(6)]
    with pytest.raises(UserError, match=r"set: 5 of its images have no mask of the same name: 1, 2, 3, …"):
        pair("set", images, stem, {"0": Path("0.png")})


def test_masks_without_an_image_are_named_too() -> None:
    masks = {name: Path(f"{name}.png") for name in "ab"}
    with pytest.raises(UserError, match=r"set: 1 of its masks have no image of the same name: b\."):
        pair("set", [Path("a.jpg")], stem, masks)


def test_up_to_one_in_a_hundred_is_left_out_and_more_is_an_error() -> None:
    images = [Path(f"{i:03}.jpg") for i in range(200)]
    masks = {path.stem: path.with_suffix(".png") for path in images[1:]} | {"x": Path("x.png")}
    with pytest.warns(UserWarning, match=r"no mask of the same name: 000; 1 of its masks .*: x\. They are left out"):
        pairs = pair("set", images, stem, masks)  # 2 of 201 names
    assert pairs.images == images[1:]
    assert pairs.masks == [path.with_suffix(".png") for path in images[1:]]
    assert pairs.left_out == [LeftOut(images[0], "no_mask"), LeftOut(Path("x.png"), "no_image")]
    del masks["199"]
    with pytest.raises(UserError, match="2 of its images have no mask of the same name: 000, 199; 1 of its masks"):
        pair("set", images, stem, masks)


def test_an_image_goes_by_the_longest_known_end_of_its_path() -> None:
    images = [Path(p) for p in ("/d/photos/x/1.jpg", "/d/photos/y/1.jpg", "/d/photos/2.jpg", "/e/3.jpg")]
    names = by_ending(images, {"x/1", "y/1", "1", "2", "photos/2"})
    assert list(names.values()) == ["x/1", "y/1", "photos/2", "/e/3"]


def test_a_name_that_images_of_two_folders_claim_is_given_to_neither() -> None:
    images = [Path("/d/x/1.jpg"), Path("/d/y/1.jpg"), Path("/d/y/2.jpg"), Path("/d/y/2.png")]
    assert list(by_ending(images, {"1", "2"}).values()) == ["/d/x/1", "/d/y/1", "2", "2"]


def test_composed_and_separate_accents_are_one_name(tmp_path):
    composed, separate = "caf\u00e9", "cafe\u0301"
    for folder, name in (("photos", separate), ("masks", composed)):
        (tmp_path / folder).mkdir()
        Image.new("L", (4, 4), 255).save(tmp_path / folder / f"{name}.png")
    photo = tmp_path / "photos" / f"{separate}.png"
    assert len(ImageFolder(tmp_path / "photos", tmp_path / "masks")) == 1
    assert [name for name, _, _ in pair_masks(tmp_path / "masks", tmp_path / "photos").found] == [composed]
    assert by_ending([photo], {composed}) == {photo: composed}
    assert by_ending([tmp_path / f"{composed}.png"], {separate}) == {tmp_path / f"{composed}.png": separate}
    assert Store.open(tmp_path / "masks").match([photo], tmp_path / "photos") == {photo: composed}
    assert find_boxes(separate, {composed: ImageBoxes((4, 4), torch.zeros(0, 4))}) is not None
