import numpy as np
import pytest
from PIL import Image

from segtricks.data.mask_values import MaskRule, decide, refuse_masks
from segtricks.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Write arrays as the files of a folder; return their paths."""

    def write(*arrays, mode=None):
        paths = []
        for number, array in enumerate(arrays):
            path = tmp_path / f"{number}.png"
            Image.fromarray(np.asarray(array), mode).save(path)
            paths.append(path)
        return paths

    return write


def gray(*values, dtype=np.uint8):
    return np.array([values], dtype)


@pytest.mark.parametrize(
    ("arrays", "white", "first"),
    [
        ([gray(0, 255)], 255, [0, 255]),
        ([gray(0, 1), gray(0, 0)], 1, [0, 255]),
        ([gray(0, 1), gray(0, 255)], 1, [0, 255]),  # one tool wrote the first, another one the second
        ([gray(0, 1), gray(0, 90, 140)], 255, [0, 1]),  # a map that is nearly empty
        ([gray(0, 128, dtype=np.uint16), gray(0, 255, dtype=np.uint16)], 255, [0, 128]),
        ([gray(0, 2048, dtype=np.uint16), gray(0, 4095, dtype=np.uint16)], 4095, [0, 128]),
        ([gray(0, 2048, dtype=np.uint16), gray(0, 65535, dtype=np.uint16)], 65535, [0, 8]),
        ([gray(0, 1, dtype=np.uint16)], 1, [0, 255]),
    ],
)
def test_scale_is_that_of_the_whole_folder(folder, arrays, white, first):
    paths = folder(*arrays)
    rule = decide(paths, "targets")
    assert rule == MaskRule("gray", white)
    assert rule.read(paths[0])[0].flatten().tolist() == first


@pytest.mark.parametrize("values", [(0, 1, 255), (1, 2, 3), (0, 2), (0, 1, 2, 15)])
def test_classes_are_refused(folder, values):
    with pytest.raises(
        UserError, match=f"hold the values {', '.join(map(str, values))}: classes.*\nNext: say which.* --foreground"
    ):
        decide(folder(gray(*values)), "targets")


def test_foreground_and_ignored_values_are_those_that_are_given(folder):
    paths = folder(gray(1, 2, 3, 255))
    mask, ignored, _ = decide(paths, "targets", foreground=[1, 3], ignore=[255]).read(paths[0])
    assert mask.flatten().tolist() == [255, 0, 255, 0]
    assert ignored.flatten().tolist() == [False, False, False, True]


def test_alpha_counts_where_it_varies(folder):
    cut_out = np.zeros((1, 2, 4), np.uint8)
    cut_out[0, 1] = (9, 9, 9, 200)
    opaque = np.full((1, 2, 4), 255, np.uint8)
    paths = folder(cut_out, opaque)
    rule = decide(paths, "predictions")
    assert rule.source == "alpha"
    assert [rule.read(path)[0].flatten().tolist() for path in paths] == [[0, 200], [255, 255]]
    assert decide(folder(opaque), "predictions").source == "gray"


def test_palettes_of_grays_hold_gray_values_and_others_classes(tmp_path):
    image = Image.fromarray(gray(0, 1, 2))
    for name, palette in (
        ("gray", [0, 0, 0, 128, 128, 128, 255, 255, 255]),
        ("colours", [0, 0, 0, 128, 0, 0, 0, 128, 0]),
    ):
        picture = image.convert("P")
        picture.putpalette(palette + [0] * (768 - 9))
        picture.putdata([0, 1, 2])
        picture.save(tmp_path / f"{name}.png")
    grays, colours = (decide([tmp_path / f"{name}.png"], "targets") for name in ("gray", "colours"))
    assert grays.read(tmp_path / "gray.png")[0].flatten().tolist() == [0, 128, 255]
    assert colours.source == "palette"
    assert colours.read(tmp_path / "colours.png")[0].flatten().tolist() == [0, 255, 255]


@pytest.mark.parametrize("what", ["predictions", "masks"])
def test_no_option_is_advised_where_there_is_none(folder, what):
    with pytest.raises(UserError, match="Next: write them as 0 and 255"):
        decide(folder(gray(0, 1, 2)), what)


def colours(*pixels):
    return np.array([pixels], np.uint8)


def test_one_colour_on_black_is_foreground(folder):
    paths = folder(colours((0, 0, 0), (128, 0, 0)), colours((0, 0, 0), (0, 0, 0)))
    mask, _, _ = decide(paths, "targets").read(paths[0])
    assert mask.flatten().tolist() == [0, 255]


def test_several_colours_are_classes_and_refused_by_their_luminances(folder):
    # Of VOC's colours (192, 128, 128) is above half, (128, 0, 0) and (0, 128, 0) are below.
    paths = folder(colours((0, 0, 0), (128, 0, 0)), colours((0, 128, 0), (192, 128, 128)))
    with pytest.raises(UserError, match=r"luminances 0, 38, 75, 147: classes.*\nNext: say which.* --foreground 38"):
        decide(paths, "targets")
    mask, _, _ = decide(paths, "targets", foreground=[38, 147]).read(paths[1])
    assert mask.flatten().tolist() == [0, 255]


def test_colours_between_are_read_by_their_luminance(folder):
    ramp = colours(*[(level, 0, 0) for level in range(0, 250, 10)])
    assert decide(folder(ramp), "predictions") == MaskRule("luminance")


@pytest.mark.parametrize("arrays", [(gray(0, 0),), (gray(0, 1),), (gray(0, 255), gray(0, 20, 255))])
def test_label_maps_are_not_taken_for_masks(folder, arrays):
    refuse_masks(folder(*arrays), "--labels")


def test_broken_label_maps_are_left_to_whoever_reads_them(folder):
    paths = folder(gray(0, 255), gray(0, 1))
    paths[1].write_bytes(b"")
    with pytest.raises(UserError, match="--labels hold 0, 255 alone"):
        refuse_masks(paths, "--labels")
    paths[0].write_bytes(b"")
    refuse_masks(paths, "--labels")
