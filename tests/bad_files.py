"""What a folder of photographs may hold: ``damaged`` files, odd but ``sound`` ones, and what is no file at all."""

import io
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 48
_NOISE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
PHOTO = Image.fromarray(_NOISE)
GRAY = PHOTO.convert("L")
_PNG = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes, length: int | None = None, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content) if length is None else length) + kind + content + struct.pack(">I", crc)


def png(*parts: bytes, width: int = 4, height: int = 4, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    """A PNG with this header, then ``parts``, by default none: as much as decoders need to believe in the size."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return _PNG + chunk(b"IHDR", header) + b"".join(parts) + chunk(b"IEND", b"")


def pixels(channels: int, width: int = 4, height: int = 4) -> bytes:
    return chunk(b"IDAT", zlib.compress((b"\0" + bytes(channels * width)) * height))


def tiff(*tags: tuple[int, int, int, int], rest: bytes = b"", first: int = 8) -> bytes:
    """A TIFF whose tags are (number, type, count, value); ``rest`` is its tail, 2 + 12 tags + 4 + 8 bytes from 0."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", first, len(tags)) + entries + bytes(4) + rest


def plain_tiff(width: int = 4, height: int = 4, **changed: int) -> bytes:
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: height, 279: 16}
    tags |= {int(name[1:]): value for name, value in changed.items()}
    return tiff(
        *((tag, 4 if tag in (256, 257, 273, 279) else 3, 1, value) for tag, value in tags.items()), rest=bytes(16)
    )


def floats(*values: float) -> bytes:
    return encoded(Image.fromarray(np.array([values] * 4, np.float32)), "TIFF")


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("was-run",)


def _archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", encoded(PHOTO, "JPEG"))
    return file.getvalue()


def _cut(data: bytes, suffix: str) -> Iterator[tuple[str, bytes]]:
    """The file cut in its signature, in its header and in its pixels."""
    for share, where in ((3 / len(data), "signature"), (0.02, "header"), (0.3, "pixels"), (0.8, "end")):
        yield f"cut in its {where}.{suffix}", data[: max(1, int(share * len(data)))]


def damaged() -> dict[str, bytes]:
    """Contents of files that no reader can make a whole picture of, by name."""
    jpeg, whole = encoded(PHOTO, "JPEG", quality=90), encoded(PHOTO, "PNG")
    frame = jpeg.index(b"\xff\xc0")  # start of frame: length, depth, height, width, components
    scan = jpeg.index(b"\xff\xda")
    files = {f"empty.{suffix}": b"" for suffix in ("jpg", "png", "tif", "webp", "gif", "bmp")}
    kinds = {"jpg": jpeg, "png": whole, "webp": encoded(PHOTO, "WEBP", lossless=True), "tif": encoded(PHOTO, "TIFF")}
    kinds |= {
        "gif": encoded(GRAY, "GIF"),
        "bmp": encoded(PHOTO, "BMP"),
        "tiff": encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    }
    for suffix, data in kinds.items():
        files |= {f"{suffix} {name}": content for name, content in _cut(data, suffix)}
    return files | {
        "text.jpg": b"not an image",
        "page.png": b"<!doctype html><title>404</title>",
        "drawing.jpg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "document.jpg": b"%PDF-1.7\n1 0 obj\n",
        "archive.jpg": _archive(),
        "code.png": pickle.dumps(_Code()),
        "array.tif": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "icon.png": encoded(PHOTO, "ICO"),
        "jpeg2000.jpg": encoded(PHOTO, "JPEG2000"),
        "targa.bmp": encoded(PHOTO, "TGA"),
        "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        "film.gif": b"\0\0\0\x18ftypmp42" + bytes(64),
        "zeros.jpg": bytes(4096),
        "ones.png": b"\xff" * 4096,
        "only an end.jpg": b"\xff\xd8\xff\xd9",
        "no tables.jpg": jpeg[:2] + jpeg[frame:],
        "no pixels.jpg": jpeg[: scan + 2] + b"\xff\xd9",
        "no rows.jpg": jpeg[: frame + 5] + b"\0\0" + jpeg[frame + 7 :],
        "no components.jpg": jpeg[: frame + 9] + b"\0" + jpeg[frame + 10 :],
        "65,500 a side.jpg": jpeg[: frame + 5] + b"\xff\xdc\xff\xdc" + jpeg[frame + 9 :],
        "changed.png": whole[:200] + bytes(60) + whole[260:],
        "no pixels.png": png(),
        "no size.png": png(pixels(3), width=0),
        "100,000 a side.png": png(pixels(3), width=100_000, height=100_000),
        "10,000 a side.png": png(pixels(3), width=10_000, height=10_000),
        "2 billion wide.png": png(pixels(3), width=2**31 - 1, height=1),
        "bomb.png": png(chunk(b"IDAT", zlib.compress(bytes(12_001 * 12_000))), width=12_000, height=12_000, colour=0),
        "header checksum.png": _PNG + chunk(b"IHDR", whole[16:29], crc=1) + whole[33:],
        "header too short.png": _PNG + chunk(b"IHDR", b"\0\0\0\4") + pixels(3),
        "colour type 5.png": png(pixels(3), colour=5),
        "depth 3.png": png(pixels(3), depth=3),
        "chunk of 2 GB.png": _PNG + chunk(b"IHDR", whole[16:29], length=2**31 - 1),
        "text bomb.png": png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(3_000_000))), pixels(3)),
        "damaged\nline.png": whole[:99],
        os.fsdecode(b"damaged \xff.png"): whole[:99],
        "<i>damaged & <script>.png": whole[:99],
        "no zlib.png": png(chunk(b"IDAT", b"no zlib stream")),
        "no frame.gif": b"GIF89a\4\0\4\0\0\0\0;",
        "no size.gif": b"GIF89a\0\0\0\0\0\0\0;",
        "65,535 a side.gif": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2\4\1\0;",
        "no picture.webp": b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0",
        "noise.webp": b"RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0" + bytes(range(20)),
        "2 billion a side.bmp": b"BM"
        + struct.pack("<IIIIiiHHIIIIII", 70, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, *[0] * 6),
        "depth 7.bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 70, 0, 54, 40, 4, 4, 1, 7, *[0] * 6) + bytes(64),
        "no such compression.bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 70, 0, 54, 40, 4, 4, 1, 24, 99, *[0] * 5),
        "nan.tif": floats(0, float("nan"), 1),
        "infinite.tif": floats(0, float("inf"), 1),
        "negative.tif": floats(-0.5, 0.5),
        "above one.tif": floats(0, 255),
        "32 bits.tif": encoded(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF"),
        "no directory.tif": b"II*\0\xff\xff\xff\x7f",
        "no tags.tif": tiff(),
        "4 billion a side.tif": plain_tiff(width=2**32 - 1, height=2**32 - 1),
        "pixels elsewhere.tif": plain_tiff(t273=2**31),
        "compression 99.tif": plain_tiff(t259=99),
        "0 bits.tif": plain_tiff(t258=0),
        "0 channels.tif": plain_tiff(t277=0),
        "no size.tif": plain_tiff(width=0),
        "text for numbers.ppm.png": b"P6\nfour 4\n255\n" + bytes(48),
        "999,999 a side.ppm.png": b"P6\n999999 999999\n255\n",
    }


def sound() -> dict[str, bytes]:
    """Contents of odd files that hold a whole picture all the same, by name, and of plain ones with odd names."""
    jpeg, whole, few = encoded(PHOTO, "JPEG"), encoded(PHOTO, "PNG"), GRAY.quantize(4)
    named = [
        "with a space",
        "line\nbreak",
        "tab\there",
        "-dash",
        "--option=1",
        "quo'te",
        'quo"te',
        "a[1:2]",
        "%s %d {0}",
    ]
    named += [
        "<b>bold & <script>",
        "$(touch x)",
        "`x`",
        "a;b",
        "naïve",
        "子",
        "\U0001f4f7",
        "\u202egpj",
        "x" * 240,
        "null",
        "~",
    ]
    named += [os.fsdecode(b"not utf-8 \xff\xfe"), "a.b.c", "trailing ", "#comment", "con", "$f_1$", "back\\slash"]
    return (
        {f"{name}.jpg": jpeg for name in named}
        | {
            "upper case.JPG": jpeg,
            "really png.jpg": whole,
            "really jpeg.png": jpeg,
            "really webp.gif": encoded(PHOTO, "WEBP"),
            "tail.jpg": jpeg + b"trailing bytes" * 99,
            "tail.png": whole + b"trailing bytes" * 99,
            "profile is noise.jpg": encoded(PHOTO, "JPEG", icc_profile=bytes(range(256)) * 9),
            "profile of another space.png": encoded(PHOTO, "PNG", icc_profile=b"\0" * 128),
            "profile is no zlib.png": png(chunk(b"iCCP", b"a\0\0no zlib stream"), pixels(3)),
            "palette of one.png": png(
                chunk(b"PLTE", b"\1\2\3"), chunk(b"IDAT", zlib.compress(b"\0\0\xff\7\1" * 4)), colour=3
            ),
            "transparency.png": png(chunk(b"PLTE", bytes(6)), chunk(b"tRNS", b"\0"), pixels(1), colour=3),
            "two rows are missing.png": png(
                pixels(3, height=2)
            ),  # to Pillow they are black, as nobody says that any follow
            "palette.png": encoded(few, "PNG"),
            "palette with holes.gif": encoded(few, "GIF"),
            "cmyk.jpg": encoded(PHOTO.convert("CMYK"), "JPEG"),
            "lab.tif": encoded(Image.fromarray(_NOISE).convert("RGB").convert("YCbCr"), "TIFF"),
            "one bit.png": encoded(GRAY.convert("1"), "PNG"),
            "sixteen bits.png": encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000), "PNG"),
            "unit floats.tif": floats(0, 0.5, 1),
            "one pixel.png": encoded(PHOTO.resize((1, 1)), "PNG"),
            "one row.png": encoded(PHOTO.resize((64, 1)), "PNG"),
            "no end.png": whole[:-12],
            "exif is noise.jpg": encoded(PHOTO, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"),
            "pnm.png": b"P5\n%d %d\n255\n" % (SIDE, SIDE) + bytes(SIDE * SIDE),
            "frames.gif": encoded(few, "GIF", save_all=True, append_images=[few.rotate(90)]),
            "unknown tag.tif": plain_tiff() + bytes(8),
        }
    )


def no_files(folder: Path) -> dict[str, str]:
    """Make what is no file but called like one in ``folder``; return the readers' reasons, by name.

    Permissions do not bind whoever tests as root: a link to a file whose reading fails stands for a forbidden one.
    """
    reasons = {"dangling.jpg": "no such file", "circle.png": "symbolic links", "other circle.png": "symbolic links"}
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "circle.png").symlink_to(folder / "other circle.png")
    (folder / "other circle.png").symlink_to(folder / "circle.png")
    for name in ("pipe.jpg", "socket.png", "endless.tif"):
        reasons[name] = "pipe, socket or device"
    os.mkfifo(folder / "pipe.jpg")
    (folder / "endless.tif").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # a socket's address has room for 108 bytes
        server.bind("socket.png")
        os.chdir(here)
    if Path("/proc/self/mem").exists():
        reasons["failing disk.jpg"] = "cannot be read"
        (folder / "failing disk.jpg").symlink_to("/proc/self/mem")
    (folder / "folder.jpg").mkdir()
    (folder / "folder that loops.png").symlink_to(folder, target_is_directory=True)
    return reasons


def write_all(folder: Path) -> tuple[set[str], set[str]]:
    """Write everything into ``folder``; return the names of what cannot and of what can be read."""
    folder.mkdir()
    bad, good = damaged(), sound()
    assert not set(bad) & set(good)
    for name, content in (bad | good).items():
        (folder / name).write_bytes(content)
    return {*bad, *no_files(folder)}, set(good)
