import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.data.datasets import examples
from segtricks.data.datasets.examples import (
    MASKS,
    ExamplePhotographs,
    Photograph,
    draw_mask,
    locate,
    photographs,
)
from segtricks.data.datasets.registry import open_dataset
from segtricks.errors import UserError

NAMES = ["astronaut", "camera", "chelsea", "china", "coffee", "coins", "flower", "grace_hopper", "rocket"]
FREE = {"public domain", "CC0", "CC BY 2.0", "no known copyright restrictions"}

# The photographs' packages are optional.
all_installed = pytest.mark.skipif(
    any(importlib.util.find_spec(module) is None for module in ("skimage", "sklearn", "matplotlib")),
    reason='needs scikit-image and scikit-learn: pip install "segtricks[examples]"',
)
# Shares of the masks, looked up by eye in a picture of all masks; they catch a mask that is drawn wrong or inverted.
SHARES = {
    "astronaut": (0.50, 0.57),
    "camera": (0.32, 0.38),
    "chelsea": (0.70, 0.78),
    "china": (0.22, 0.27),
    "coffee": (0.44, 0.50),
    "coins": (0.32, 0.37),
    "flower": (0.22, 0.26),
    "grace_hopper": (0.55, 0.61),
    "rocket": (0.02, 0.03),
}


def made(objects: list[dict[str, Any]], name: str = "made", module: str = "made_up") -> Photograph:
    return Photograph(name, "made-up", module, f"{name}.png", "0", 8, 6, "nobody", "CC0", "here", objects)


def test_the_list_has_the_documented_photographs_by_name() -> None:
    assert [photograph.name for photograph in photographs()] == NAMES
    assert len(NAMES) == ExamplePhotographs.expected
    assert {photograph.package for photograph in photographs()} == {"scikit-image", "scikit-learn", "matplotlib"}


@pytest.mark.parametrize("photograph", photographs(), ids=lambda photograph: photograph.name)
def test_author_licence_and_source_are_named(photograph: Photograph) -> None:
    assert photograph.licence in FREE
    assert photograph.author
    assert photograph.source
    assert photograph.licence in " ".join((ExamplePhotographs.__doc__ or "").split())


@pytest.mark.parametrize("photograph", photographs(), ids=lambda photograph: photograph.name)
def test_polygons_lie_inside_the_picture(photograph: Photograph) -> None:
    assert photograph.objects
    for item in photograph.objects:
        outline, holes = item["outline"], item["holes"]
        for points in (outline, *holes):
            assert len(points) >= 3
            xs, ys = zip(*points, strict=True)
            assert 0 <= min(xs) <= max(xs) < photograph.width
            assert 0 <= min(ys) <= max(ys) < photograph.height
        (left, top), (right, bottom) = np.min(outline, 0), np.max(outline, 0)
        for hole in holes:
            assert all(left < x < right and top < y < bottom for x, y in hole)


@all_installed
@pytest.mark.parametrize("photograph", photographs(), ids=lambda photograph: photograph.name)
def test_files_are_the_ones_that_were_drawn_on(photograph: Photograph) -> None:
    path = locate(photograph)
    assert path is not None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == photograph.sha256
    with Image.open(path) as image:
        assert image.size == (photograph.width, photograph.height)
        assert min(image.size) >= 200


@all_installed
@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
def test_each_photograph_opens_with_a_plausible_mask(index: int) -> None:
    sample = ExamplePhotographs()[index]
    image, mask = sample["image"], sample["target"]
    assert mask is not None
    assert Path(sample["path"]).stem == NAMES[index]
    assert (image.dtype, mask.dtype) == (torch.uint8, torch.uint8)
    assert image.shape[0] == 3
    assert mask.shape == (1, *image.shape[1:])
    assert mask.unique().tolist() == [0, 255]
    low, high = SHARES[NAMES[index]]
    assert low < mask.float().mean().item() / 255 < high


@all_installed
@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("astronaut", [(230, 110), (100, 350), (400, 430)], [(410, 60), (60, 100), (440, 300)]),
        ("camera", [(215, 90), (293, 400), (100, 300), (290, 160)], [(256, 170), (250, 225), (400, 300), (115, 500)]),
        ("coins", [(44, 54), (347, 187), (358, 268)], [(70, 54), (200, 90), (300, 190)]),
        ("flower", [(305, 220), (380, 410)], [(330, 368), (100, 100)]),
        ("china", [(205, 35), (200, 150), (250, 300)], [(106, 210), (400, 300), (100, 400)]),
    ],
)
def test_pixels_that_one_can_tell_by_eye(
    name: str, inside: list[tuple[int, int]], outside: list[tuple[int, int]]
) -> None:
    mask = ExamplePhotographs().read_mask(NAMES.index(name))
    assert mask is not None
    assert [int(mask[0, y, x]) for x, y in inside] == [255] * len(inside)
    assert [int(mask[0, y, x]) for x, y in outside] == [0] * len(outside)


def test_a_square_with_a_hole_is_drawn_pixel_by_pixel() -> None:
    square = {"outline": [(1, 1), (5, 1), (5, 5), (1, 5)], "holes": [[(3, 3), (4, 3), (4, 4), (3, 4)]]}
    expected = [
        "........",
        ".#####..",
        ".#####..",
        ".##..#..",
        ".##..#..",
        ".#####..",
    ]
    mask = draw_mask(made([square]))
    assert ["".join("#" if value == 255 else "." for value in row) for row in mask[0].tolist()] == expected


def test_a_hole_cuts_its_own_object_alone() -> None:
    whole = {"outline": [(0, 0), (7, 0), (7, 5), (0, 5)], "holes": []}
    holed = {"outline": [(1, 1), (5, 1), (5, 5), (1, 5)], "holes": [[(2, 2), (4, 2), (4, 4), (2, 4)]]}
    assert draw_mask(made([whole, holed])).min() == 255


@all_installed
def test_parts_and_selections_keep_photographs_and_masks_together() -> None:
    whole = ExamplePhotographs()
    for part, indices in (
        (open_dataset("examples[:2]", "/nowhere"), [0, 1]),
        (open_dataset("examples[-3:]"), [6, 7, 8]),
        (whole.select([5, 2]), [5, 2]),
    ):
        assert [path.stem for path in part.images] == [NAMES[index] for index in indices]
        for position, index in enumerate(indices):
            assert torch.equal(part.read_mask(position), whole.read_mask(index))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"examples\[9:\] is empty: examples has 9 images"):
        open_dataset("examples[9:]")


@all_installed
def test_without_masks_there_are_none() -> None:
    dataset = open_dataset("examples", require_masks=False)
    assert dataset.masks is None
    assert dataset.read_mask(0) is None
    assert dataset[0]["target"] is None
    assert open_dataset("examples").masks == [MASKS] * len(NAMES)


@all_installed
def test_no_package_is_imported_to_find_its_photographs() -> None:
    code = (
        "import sys; from segtricks.data.datasets.examples import ExamplePhotographs; n = len(ExamplePhotographs()); "
        "print(n, [name for name in ('skimage', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "9 []\n"


@all_installed
def test_photographs_of_missing_packages_are_left_out_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.warns(UserWarning, match=r"china, flower: not found") as warned:
        dataset = ExamplePhotographs()
    assert len(warned) == 1
    assert 'scikit-learn. Left out. Next: pip install "segtricks[examples]"' in str(warned[0].message)
    assert [path.stem for path in dataset.images] == [name for name in NAMES if name not in ("china", "flower")]
    with pytest.raises(UserError, match=r"china, flower: not found"):
        ExamplePhotographs(strict=True)


def test_no_photograph_at_all_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "locate", lambda photograph: None)
    with pytest.raises(UserError, match=r'scikit-image.*scikit-learn.*\nNext: pip install "segtricks\[examples\]"'):
        ExamplePhotographs()


def test_a_file_of_another_version_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "made_up"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    square = [{"outline": [(1, 1), (5, 1), (5, 5), (1, 5)], "holes": []}]
    found = []
    for name in ("kept", "other"):
        Image.new("RGB", (8, 6)).save(package / f"{name}.png")
        content = (package / f"{name}.png").read_bytes()
        found.append(made(square, name)._replace(sha256=hashlib.sha256(content).hexdigest()))
    Image.new("RGB", (8, 6), "red").save(package / "other.png")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(examples, "photographs", lambda: tuple(found))
    with pytest.warns(UserWarning, match=r"other\.png: not the file that the mask was drawn on"):
        dataset = ExamplePhotographs()
    assert dataset.images == [package / "kept.png"]
    assert dataset.left_out == [(package / "other.png", "changed")]
    assert dataset[0]["target"].sum() == 25 * 255  # type: ignore[union-attr]


def test_the_masks_file_has_one_polygon_a_line() -> None:
    lines = MASKS.read_text(encoding="utf-8").splitlines()
    polygons = sum(1 + len(drawn["holes"]) for entry in json.loads("\n".join(lines)) for drawn in entry["objects"])
    assert sum("[[" in line for line in lines) == polygons
