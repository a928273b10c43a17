import pickle
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from segtricks.data.images import (
    UnreadableImage,
    find_images,
    read_image,
    read_labels,
    read_mask,
    read_stored,
)
from segtricks.errors import UserError

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOURS = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def as_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(1, 2, 0).numpy()


def test_colour_is_read_as_it_is(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", Image.fromarray(COLOURS)))
    assert image.dtype == torch.uint8
    assert image.shape == (3, 3, 4)
    assert image.permute(1, 2, 0).is_contiguous()  # as it was decoded: what resizing is fastest on
    np.testing.assert_array_equal(as_array(image), COLOURS)


def test_grayscale_gives_three_equal_channels(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", Image.fromarray(RAMP)))
    np.testing.assert_array_equal(image.numpy(), np.stack([RAMP] * 3))


def test_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert as_array(read_image(save(tmp_path / "a.png", palette))).tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan: red
    red = read_image(save(tmp_path / "a.tif", cmyk))
    assert red[:, 0, 0].tolist() == [255, 0, 0]


def test_cmyk_of_a_jpeg_becomes_rgb(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    path = save(tmp_path / "a.jpg", cmyk, quality=100)  # stored the other way round, as Adobe's programs do
    with Image.open(path) as stored:
        assert stored.mode == "CMYK"
    red = read_image(path)[:, 4, 4].int()
    assert (red - torch.tensor([255, 0, 0])).abs().max() <= 3


@pytest.mark.parametrize("alpha", [0, 51, 255])
def test_alpha_lies_over_white(tmp_path: Path, alpha: int) -> None:
    image = read_image(save(tmp_path / "a.png", Image.new("RGBA", (2, 2), (100, 0, 200, alpha))))
    by_hand = [round(c * alpha / 255 + 255 * (1 - alpha / 255)) for c in (100, 0, 200)]
    assert image[:, 0, 0].tolist() == by_hand


def test_transparent_entries_of_gray_and_palette_images_lie_over_white(tmp_path: Path) -> None:
    gray_alpha = Image.merge("LA", [Image.new("L", (2, 2), 40), Image.new("L", (2, 2), 0)])
    assert read_image(save(tmp_path / "la.png", gray_alpha)).unique().tolist() == [255]
    palette = Image.new("P", (2, 2))
    palette.putpalette([10, 20, 30])
    assert read_image(save(tmp_path / "p.png", palette, transparency=0)).unique().tolist() == [255]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_divided_by_257_so_that_white_stays_white(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    image = read_image(save(tmp_path / f"a.{suffix}", Image.fromarray(values)))
    assert image[0, 0].tolist() == [0, 0, 1, 1, 128, 255]  # rounded, by hand
    assert read_mask(tmp_path / f"a.{suffix}")[0, 0].tolist() == image[0, 0].tolist()


def test_colour_with_sixteen_bits_keeps_the_high_bytes(tmp_path: Path) -> None:
    row = np.array([[0x00FF, 0x1234, 0xFFFF]], dtype=">u2").tobytes()
    path = tmp_path / "a.png"  # Pillow writes none
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(b"\0" + row))
        + png_chunk(b"IEND", b"")
    )
    assert read_image(path).flatten().tolist() == [0x00, 0x12, 0xFF]


def test_32_bit_integers_are_taken_for_16_bits_or_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(np.array([[0, 257, 65535]], dtype=np.int32)))
    assert read_image(path)[0, 0].tolist() == [0, 1, 255]
    path = save(tmp_path / "b.tif", Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))
    with pytest.raises(UnreadableImage, match=r"b\.tif: damaged: integers that are not all within 0\.\.65535"):
        read_image(path)


def test_floats_from_0_to_1_are_scaled_by_255(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32)))
    assert read_image(path)[:, 0].tolist() == [[0, 128, 255]] * 3
    assert read_mask(path)[0, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.01, 1.5])
def test_floats_out_of_range_are_refused(tmp_path: Path, bad: float) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(np.array([[0, bad]], dtype=np.float32)))
    with pytest.raises(UnreadableImage, match=r"a\.tif: .*not all within 0\.\.1"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_turns_image_and_mask(tmp_path: Path, suffix: str) -> None:
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8] = 255  # one corner
    stored = np.rot90(upright, 1)  # the camera was held so that a clockwise quarter turn (6) sets it upright
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(stored).convert("RGB"), exif=exif)
    for tensor in (read_image(path)[:1], read_mask(path)):
        assert tensor.shape == (1, 16, 32)
        np.testing.assert_array_equal(tensor[0].numpy() > 128, upright > 128)


@pytest.mark.parametrize(
    ("orientation", "row", "column"),  # what the first stored row and column show, from the EXIF standard's table
    [
        (1, "top", "left"),
        (2, "top", "right"),
        (3, "bottom", "right"),
        (4, "bottom", "left"),
        (5, "left", "top"),
        (6, "right", "top"),
        (7, "right", "bottom"),
        (8, "left", "bottom"),
    ],
)
def test_all_eight_orientations_are_set_upright(tmp_path: Path, orientation: int, row: str, column: str) -> None:
    stored = np.zeros((3, 5), np.uint8)
    stored[:, 0], stored[0] = 100, 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(stored), exif=exif)
    for tensor in (read_image(path)[0], read_mask(path)[0]):
        assert tensor.shape == ((3, 5) if orientation < 5 else (5, 3))
        sides = {"top": tensor[0], "bottom": tensor[-1], "left": tensor[:, 0], "right": tensor[:, -1]}
        assert sides[row].unique().tolist() == [200]
        assert sorted(sides[column].unique().tolist()) == [100, 200]
        assert (tensor == 0).sum() == 2 * 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_next_to_sound_pixels_is_ignored(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(COLOURS), exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff")
    assert read_image(path).shape == (3, 3, 4)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_read(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    assert read_image(path)[:, 4, 4].tolist() == [255, 0, 0]


def test_one_pixel(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.png", Image.new("RGB", (1, 1), (1, 2, 3)))).flatten().tolist() == [1, 2, 3]


def test_twenty_megapixels_are_read(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.png", Image.new("L", (5000, 4000)))).shape == (3, 4000, 5000)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def gray_png(bits: int, row: bytes) -> bytes:
    """A grayscale PNG of 4 x 1 pixels with so many bits (PNG specification, section 11)."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0))
    content = png_chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + header + content + png_chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"\0\0\0\0IDAT"


@pytest.mark.parametrize("side", [10_000, 100_000])  # Pillow warns of the first and refuses the second
def test_decompression_bombs_are_named(tmp_path: Path, side: int, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    with pytest.raises(UnreadableImage, match=rf"bomb\.png: more than {Image.MAX_IMAGE_PIXELS} pixels"):
        read_image(path)
    assert not recwarn


def test_reading_does_not_make_other_warnings_repeat(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RAMP))
    read_image(path)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            warnings.warn("of the training loop", stacklevel=1)
            read_image(path)
    assert len(shown) == 1


@pytest.mark.parametrize("reader", [read_image, read_mask])
def test_what_cannot_be_read_is_named_with_its_reason(tmp_path: Path, reader: object) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    jpeg = save(tmp_path / "whole.jpg", Image.fromarray(noise)).read_bytes()
    png = save(tmp_path / "whole.png", Image.fromarray(noise)).read_bytes()
    files = {
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "cut.png": (png[: len(png) // 2], "damaged"),
        "changed.png": (png[:500] + bytes(100) + png[600:], "damaged"),
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"not an image", "not an image"),
        "flat.png": (png_header(0, 5), "has no pixels|not an image"),
        "page.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),  # would start Ghostscript
    }
    for name, (content, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableImage, match=rf"{name}: .*({reason})") as caught:
            reader(tmp_path / name)  # type: ignore[operator]
        assert caught.value.path == str(tmp_path / name)
    for path, reason in ((tmp_path / "none.jpg", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(UnreadableImage, match=reason):
            reader(path)  # type: ignore[operator]


def test_a_forbidden_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RAMP))

    def forbidden(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", forbidden)  # whoever tests as root may read everything
    with pytest.raises(UnreadableImage, match=r"a\.png: cannot be read: permission denied"):
        read_image(path)


def test_the_error_survives_the_way_out_of_a_worker() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "empty file")))
    assert (str(error), error.path, error.reason) == ("a.png: empty file", "a.png", "empty file")
    assert isinstance(error, UserError)


def test_gray_mask_values_are_kept(tmp_path: Path) -> None:
    mask = read_mask(save(tmp_path / "a.png", Image.fromarray(RAMP)))
    assert mask.dtype == torch.uint8
    np.testing.assert_array_equal(mask.numpy(), RAMP[None])


def test_one_bit_masks_become_0_and_255(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RAMP > 100))
    np.testing.assert_array_equal(read_mask(path)[0].numpy(), np.where(RAMP > 100, 255, 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_0_1_masks_become_0_and_255(tmp_path: Path, dtype: type) -> None:
    path = save(tmp_path / "a.png", Image.fromarray((RAMP > 100).astype(dtype)))
    np.testing.assert_array_equal(read_mask(path)[0].numpy(), np.where(RAMP > 100, 255, 0))


@pytest.mark.parametrize("highest", [0, 2])
def test_other_small_values_are_kept(tmp_path: Path, highest: int) -> None:
    values = np.array([[0, min(1, highest), highest]], np.uint8)
    assert read_mask(save(tmp_path / "a.png", Image.fromarray(values)))[0, 0].tolist() == values[0].tolist()


def test_colour_masks_are_read_by_their_luminance(tmp_path: Path) -> None:
    values = np.array([[[77, 77, 77], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    by_hand = [77, round(0.299 * 255), round(0.587 * 255), round(0.114 * 255)]
    assert read_mask(save(tmp_path / "a.png", Image.fromarray(values)))[0, 0].tolist() == by_hand
    palette = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8), mode=None).convert("P")
    palette.putpalette(values.flatten().tolist())
    assert read_mask(save(tmp_path / "p.png", palette))[0, 0].tolist() == by_hand


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_of_a_mask_is_ignored(tmp_path: Path, mode: str) -> None:
    transparent = Image.fromarray(RAMP).convert(mode)
    transparent.putalpha(0)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", transparent))[0].numpy(), RAMP)


def test_find_images_sorts_and_passes_over_what_is_none(tmp_path: Path) -> None:
    names = ["b.JPG", "a.png", "sub/c.jpeg", "sub/deep/d.TIFF", "e.webp", "f.bmp", "g.gif"]
    others = [".hidden.png", "__MACOSX/a.png", ".cache/x.jpg", "notes.txt", "png", "sub/__MACOSX/._c.jpeg"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_images(tmp_path) == [tmp_path / name for name in sorted(names)]


def test_find_images_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.png").touch()
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/back").symlink_to(tmp_path / "photos")
    assert find_images(tmp_path / "photos") == [tmp_path / "photos/linked/a.png"]


def test_find_images_says_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(UserError, match=r"No folder .*nowhere"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"file\.txt is a file: pass the folder"):
        find_images(tmp_path / "file.txt")
    with pytest.raises(UserError, match=r"No images in .* looked for \.jpg"):
        find_images(tmp_path)


def test_a_real_photograph_that_is_not_rgb(photographs: Path) -> None:
    gray = [path for path in find_images(photographs / "coco/images") if Image.open(path).mode == "L"]
    assert gray
    for path in gray:
        image = read_image(path)
        assert torch.equal(image[0], image[1])
        assert torch.equal(image[0], image[2])
        np.testing.assert_array_equal(image[0].numpy(), np.asarray(Image.open(path)))


def test_real_masks_hold_both_values(photographs: Path) -> None:
    for path in find_images(photographs / "ECSSD/ground_truth_mask")[::40]:
        assert read_mask(path).unique().tolist() == [0, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_label_ids_are_kept_as_they_are(tmp_path: Path, dtype: type) -> None:
    ids = np.array([[0, 1, 2], [1, 80, 255]]).astype(dtype)
    if dtype is not np.uint8:
        ids[0, 0] = 800
    path = save(tmp_path / ("a.tif" if dtype is np.int32 else "a.png"), Image.fromarray(ids))
    labels = read_labels(path)
    assert (labels.dtype, labels.shape) == (torch.int64, (1, 2, 3))
    np.testing.assert_array_equal(labels[0].numpy(), ids)


def test_label_ids_of_0_and_1_are_not_stretched(tmp_path: Path) -> None:
    ids = np.eye(3, dtype=np.uint8)
    np.testing.assert_array_equal(read_labels(save(tmp_path / "a.png", Image.fromarray(ids)))[0].numpy(), ids)
    one_bit = save(tmp_path / "b.png", Image.fromarray(ids.astype(bool)))
    np.testing.assert_array_equal(read_labels(one_bit)[0].numpy(), ids)


@pytest.mark.parametrize(("bits", "row"), [(2, b"\x1b"), (4, b"\x01\x23")])
def test_label_ids_of_2_and_4_bits_are_kept_as_they_are(tmp_path: Path, bits: int, row: bytes) -> None:
    (tmp_path / "a.png").write_bytes(gray_png(bits, row))
    assert read_labels(tmp_path / "a.png").tolist() == [[[0, 1, 2, 3]]]


@pytest.mark.parametrize(
    ("bits", "row", "values"),
    [(2, b"\x1b", [0, 85, 170, 255]), (4, b"\x0f\x08", [0, 255, 0, 136]), (4, b"\x01\x01", [0, 255, 0, 255])],
)
def test_masks_of_2_and_4_bits_reach_white(tmp_path: Path, bits: int, row: bytes, values: list[int]) -> None:
    (tmp_path / "a.png").write_bytes(gray_png(bits, row))
    assert read_mask(tmp_path / "a.png").tolist() == [[values]]


def test_palette_labels_are_entry_numbers_whatever_their_colours(tmp_path: Path) -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([128, 0, 0, 7, 7, 7, 7, 7, 7])  # 1 and 2 have one colour
    palette.putdata([2, 0, 1])
    assert read_labels(save(tmp_path / "a.png", palette)).tolist() == [[[2, 0, 1]]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "F"])
def test_labels_in_colours_are_refused_with_the_values_that_are_allowed(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "a.tif", Image.new(mode, (3, 2)))
    with pytest.raises(UnreadableImage, match=rf"its mode is {mode}: .* gray value \(0 to 65535\)"):
        read_labels(path)


def test_negative_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="it has the value -1"):
        read_labels(save(tmp_path / "a.tif", Image.fromarray(np.full((2, 2), -1, np.int32))))


def test_colours_of_a_photograph_that_is_transparent_everywhere_are_read(tmp_path):
    pixels = np.dstack([np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.zeros((2, 2), np.uint8)])
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    np.testing.assert_array_equal(read_image(path).permute(1, 2, 0), pixels[..., :3])
    assert read_stored(path).transparent
    pixels[0, 0, 3] = 1  # something is to be seen
    seen = read_image(save(tmp_path / "b.png", Image.fromarray(pixels)))
    assert seen.min() > 250
    pixels[..., :3], pixels[..., 3] = 0, 0  # nothing is there
    assert read_image(save(tmp_path / "c.png", Image.fromarray(pixels))).eq(255).all()


def test_what_a_file_says_of_itself(tmp_path):
    exif = Image.new("L", (1, 1)).getexif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "a.jpg"
    Image.new("RGB", (4, 2)).save(path, exif=exif)
    assert read_stored(path) == ((2, 4), 6, 0, False, False)
    deep = save(tmp_path / "b.png", Image.fromarray(np.array([[3, 700]], np.uint16)))
    assert read_stored(deep).highest == 700
    assert not read_stored(deep).low_colour


@pytest.mark.parametrize(("highest", "low"), [(4095, True), (65535, False)])
def test_colours_of_12_bits_in_16_are_told_from_those_of_16(tmp_path, highest, low):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + struct.pack(">6H", 0, 9, highest, 800, 20, highest)
    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    path = tmp_path / "a.png"  # Pillow writes no such file
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert read_stored(path).low_colour is low
