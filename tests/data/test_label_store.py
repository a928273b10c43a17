import json
import math
import pickle
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import ExifTags, Image
from pycocotools import mask as reference

from segtricks.data import label_store
from segtricks.data.images import UnreadableImage, read_image, read_mask, read_size
from segtricks.data.label_entry import encode_mask, entry_names, write_entry, write_labels
from segtricks.data.label_store import Store
from segtricks.errors import UserError

SIZE = (20, 30)
NAMES = ("a", "b", "sub/c")


@pytest.fixture
def arrays():
    """Two masks of each photograph: a rectangle and noise."""
    rng = np.random.default_rng(0)
    found = {}
    for number, name in enumerate(NAMES):
        rectangle = np.zeros(SIZE, bool)
        rectangle[2 : 8 + number, 5:25] = True
        found[name] = np.stack([rectangle, rng.random(SIZE) > 0.5])
    return found


@pytest.fixture
def photographs(tmp_path):
    paths = [tmp_path / "photos" / f"{name}.jpg" for name in NAMES]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(path)
    return paths


@pytest.fixture
def folder(tmp_path, arrays):
    """A store with all three."""
    for name, (rectangle, noise) in arrays.items():
        masks = [encode_mask(rectangle, np.float32(0.75), np.int64(3)), encode_mask(noise)]
        write_entry(tmp_path / "store", name, f"{name}.jpg", SIZE, masks)
    return tmp_path / "store"


def test_what_was_written_is_read(folder, arrays):
    store = Store.open(folder)
    assert store.names == list(NAMES) and len(store) == 3
    for name in NAMES:
        entry = store.entry(name)
        assert (entry.name, entry.height, entry.width, entry.soft, entry.labels) == (name, *SIZE, None, None)
        np.testing.assert_array_equal(entry.arrays(), arrays[name])
        assert entry.areas() == arrays[name].sum((1, 2)).tolist()
        assert [(mask.score, mask.class_id) for mask in entry.masks] == [(0.75, 3), (None, None)]
    assert store.entry("a").masks[0].box == (5, 2, 25, 8)


def test_codes_are_those_of_coco(folder, arrays):
    for item, array in zip(json.loads((folder / "entries/a.json").read_text())["masks"], arrays["a"], strict=True):
        decoded = reference.decode({"size": list(SIZE), "counts": item["rle"].encode()})
        np.testing.assert_array_equal(decoded, array)


def test_an_entry_without_masks_has_no_arrays(tmp_path):
    write_entry(tmp_path, "a", "a.jpg", SIZE, [])
    assert Store.open(tmp_path).entry("a").arrays().shape == (0, *SIZE)


def test_names_that_differ_in_their_suffix_alone_keep_it():
    paths = [PurePosixPath(path) for path in ("a.jpg", "a.png", "sub/a.jpg", "b.c.jpg")]
    assert list(entry_names(paths).values()) == ["a.jpg", "a.png", "sub/a", "b.c"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x.jpg", "x.png", "x.jpg.png"], ["x.jpg", "x.png", "x.jpg.png"]),
        (["x.jpg", "x.jpg.png"], ["x", "x.jpg"]),
        (["a.png", "a.png.png", "a.png.png.png", "a.jpg"], ["a.png", "a.png.png", "a.png.png.png", "a.jpg"]),
    ],
)
def test_no_two_photographs_have_one_name(paths, names):
    assert list(entry_names(map(PurePosixPath, paths)).values()) == names


@pytest.mark.parametrize("letter", ["a", "写"])
def test_names_leave_room_for_a_suffix(letter):
    long = letter * (251 // len(letter.encode()))
    paths = [PurePosixPath(f"sub/{long}.jpg"), PurePosixPath(f"sub/{long[:-1]}b.jpg")]
    names = entry_names(paths)
    assert all(len(f"{name}.json".encode()) <= len("sub/") + 255 for name in names.values())
    assert len(set(names.values())) == 2


def test_soft_masks_and_label_maps_keep_their_values(folder):
    soft = np.arange(600, dtype=np.uint8).reshape(SIZE)
    (folder / "soft").mkdir()
    Image.fromarray(soft).save(folder / "soft/a.png")
    few, many = np.arange(600).reshape(SIZE) % 2, np.arange(600).reshape(SIZE) + 65535 - 599
    write_labels(folder, "a", few)
    write_labels(folder, "sub/c", many)
    store = Store.open(folder)
    np.testing.assert_array_equal(read_mask(store.entry("a").soft)[0], soft)
    np.testing.assert_array_equal(store.entry("a").read_labels(), few)
    np.testing.assert_array_equal(store.entry("sub/c").read_labels(), many)
    assert store.entry("b").soft is None and store.entry("b").read_labels() is None
    with pytest.raises(ValueError, match=r"0\.\.65535"):
        write_labels(folder, "b", many + 1)


def test_opening_reads_no_entry_and_workers_can_have_the_store(folder, arrays, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(label_store, "read_entry", lambda folder, name: 1 / 0)
        assert len(Store.open(folder)) == 3
    store = pickle.loads(pickle.dumps(Store.open(folder)))
    np.testing.assert_array_equal(store.entry("b").arrays(), arrays["b"])


def test_files_of_a_writer_that_was_killed_are_no_entries(folder):
    (folder / "entries/.d-abcdefgh.json").write_text("{")
    (folder / "entries/notes.txt").touch()
    assert Store.open(folder).names == list(NAMES)


def test_a_folder_of_mask_files_is_a_store(tmp_path, arrays):
    for name, (_, noise) in arrays.items():
        path = tmp_path / "masks" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.astype(np.uint8) * 255).save(path)
    store = Store.open(tmp_path / "masks")
    assert store.names == list(NAMES)
    np.testing.assert_array_equal(store.entry("sub/c").arrays(), arrays["sub/c"][1:])
    np.testing.assert_array_equal(read_mask(store.entry("sub/c").soft)[0] > 127, arrays["sub/c"][1])


def test_masks_of_a_segtricks_without_entries_are_its_soft_ones(tmp_path):
    for kind in ("soft", "binary", "overlay"):
        (tmp_path / kind).mkdir()
        Image.new("L", (4, 4), 128).save(tmp_path / kind / "a.png")
    store = Store.open(tmp_path)
    assert store.names == ["a"] and store.entry("a").areas() == [16]


@pytest.fixture
def coco_file(tmp_path, arrays):
    """A COCO file: polygons, a compressed code, an uncompressed one, and a crowd, over three images."""
    noise = np.asfortranarray(arrays["b"][1], np.uint8)
    code = reference.encode(noise)
    outlines = [
        (1, [[5, 2, 25, 2, 25, 8, 5, 8]]),
        (2, {"size": list(SIZE), "counts": code["counts"].decode()}),
        (3, {"size": list(SIZE), "counts": [0, 600]}),
    ]
    content = {
        "images": [
            {"id": number, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]}
            for number, name in enumerate(NAMES, start=1)
        ],
        "annotations": [
            {"id": image, "image_id": image, "segmentation": outline, "category_id": 7, "score": 0.5}
            for image, outline in outlines
        ],
    }
    content["annotations"].append({"id": 9, "image_id": 1, "segmentation": [], "category_id": 7, "iscrowd": 1})
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    return path


def test_a_coco_file_is_a_store(coco_file, arrays):
    store = Store.open(coco_file)
    np.testing.assert_array_equal(store.entry("a").arrays(), arrays["a"][:1])
    np.testing.assert_array_equal(store.entry("b").arrays(), arrays["b"][1:])
    assert store.entry("sub/c").areas() == [600]
    assert (store.entry("b").masks[0].score, store.entry("b").masks[0].class_id) == (0.5, 7)
    assert store.entry("b").image == "b.jpg"


def test_one_damaged_annotation_costs_its_photograph_alone(coco_file, photographs):
    content = json.loads(coco_file.read_text())
    content["annotations"][0]["segmentation"] = [[1, 2, 3]]
    content["annotations"].append({"id": 10, "image_id": 99, "segmentation": []})
    coco_file.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=r"images that it does not list, not used: 1 \(10\)"):
        store = Store.open(coco_file)
    assert list(store.check(photographs).usable.values()) == ["b"]  # the mask of c is of everything


def test_a_file_of_codes_by_file_name_is_a_store(tmp_path, arrays):
    """The form in which SelfMask's pseudo-masks were released."""
    codes = {}
    for name, (_, noise) in arrays.items():
        code = reference.encode(np.asfortranarray(noise, np.uint8))
        codes[f"{name}.jpg"] = {"size": code["size"], "counts": code["counts"].decode()}
    path = tmp_path / "codes.json"
    path.write_text(json.dumps(codes))
    np.testing.assert_array_equal(Store.open(path).entry("a").arrays(), arrays["a"][1:])


def _change(**values):
    def change(content):
        content["masks"][0] |= values

    return change


def _resize(content):
    content |= {"height": SIZE[1], "width": SIZE[0], "masks": []}


def _drop_masks(content):
    del content["masks"]


DAMAGE = {
    "score is nan": (_change(score=math.nan), "score nan"),
    "score is text": (_change(score="high"), "score 'high'"),
    "class is not a number": (_change(class_id="cat"), "class id 'cat'"),
    "class is negative": (_change(class_id=-1), "class id -1"),
    "box leaves the image": (_change(box=[5, 2, 31, 8]), "leaves the image"),
    "box is endless": (_change(box=[5, 2, math.inf, 8]), "OverflowError"),
    "code is of another size": (_change(rle=encode_mask(np.ones((5, 5), bool)).rle), "do not add up to 20 x 30"),
    "code is cut": (_change(rle="P"), "do not add up"),
    "code is not ASCII": (_change(rle="é"), "a mask is damaged"),
    "code is missing": (_change(rle=None), "rle is not a text"),
    "size is exchanged": (_resize, "is 30 x 20 pixels, its entry 20 x 30"),
    "size is not a number": (lambda content: content.update(height="tall"), "'tall' x 30"),
    "size is too large": (lambda content: content.update(height=10**9), "Pillow's limit"),
    "masks are missing": (_drop_masks, "KeyError 'masks'"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_named_and_the_others_are_used(folder, photographs, damage):
    change, reason = DAMAGE[damage]
    path = folder / "entries/a.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    summary = Store.open(folder).check(photographs)
    assert list(summary.usable.values()) == ["b", "sub/c"]
    (line,) = summary.left_out["damaged or of another size"]
    assert line.startswith("a.jpg: ") and reason in line
    assert "1 damaged or of another size (a.jpg: " in str(summary)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"height": 20', "[" * 100_000])
def test_an_entry_that_is_something_else_is_left_out(folder, photographs, text):
    (folder / "entries/a.json").write_text(text)
    assert list(Store.open(folder).check(photographs).usable.values()) == ["b", "sub/c"]


def test_empty_and_full_masks_are_left_out(folder, photographs, arrays):
    nothing, everything = encode_mask(np.zeros(SIZE, bool)), encode_mask(np.ones(SIZE, bool))
    write_entry(folder, "a", "a.jpg", SIZE, [nothing, encode_mask(arrays["a"][0]), everything])
    write_entry(folder, "b", "b.jpg", SIZE, [everything])
    write_entry(folder, "sub/c", "sub/c.jpg", SIZE, [])
    store = Store.open(folder)
    summary = store.check(photographs)
    assert summary.masks == 1
    assert summary.left_out == {"without a mask": ["b.jpg", "c.jpg"]}
    np.testing.assert_array_equal(store.entry("a").usable().arrays(), arrays["a"][:1])
    write_labels(folder, "sub/c", np.ones(SIZE, int))
    assert list(store.check(photographs).usable.values()) == ["a", "sub/c"], "a label map needs no masks"


def test_what_lacks_its_partner_and_files_of_another_size_are_named(folder, photographs, tmp_path):
    (folder / "entries/a.json").unlink()
    write_labels(folder, "b", np.ones((5, 5), int))
    write_entry(folder, "d", "d.jpg", SIZE, [])
    summary = Store.open(folder).check(photographs)
    assert list(summary.usable) == photographs[2:]
    assert summary.left_out["without an entry"] == ["a.jpg"]
    (line,) = summary.left_out["damaged or of another size"]
    assert line == "b.jpg: is 5 x 5 pixels, its entry 30 x 20 (width x height)"
    assert summary.left_out["entries without their photograph"] == ["d"]
    assert len(str(summary).splitlines()) == 2


def test_a_store_of_which_nothing_can_be_used_says_what_to_type(folder, tmp_path):
    with pytest.raises(UserError, match=r"(?s)Nothing in .*0 of 1 photographs.*segtricks discover --images"):
        Store.open(folder).check([tmp_path / "x.jpg"])


def test_photographs_go_by_the_end_of_their_path_or_by_their_path_below_a_root(folder):
    write_entry(folder, "e.jpg", "e.jpg", SIZE, [])
    store = Store.open(folder)
    paths = [Path("p/a.jpg"), Path("p/x/b.jpg"), Path("p/y/b.jpg"), Path("p/sub/c.png"), Path("p/e.jpg")]
    assert store.match(paths) == {paths[0]: "a", paths[3]: "sub/c", paths[4]: "e.jpg"}, "two photographs end in b"
    assert store.match(paths, Path("p/x")) == {paths[1]: "b"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No pseudo-labels at"),
        (lambda path: (path / "entries").mkdir(parents=True), "holds no pseudo-labels"),
        (lambda path: path.mkdir(), "No images in"),
        (lambda path: path.write_text("{}"), "holds no pseudo-labels"),
        (lambda path: path.write_text("[1, 2]"), "is not a COCO annotation file"),
        (lambda path: path.write_text('{"a": 1}'), "is not a COCO annotation file"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff"), "is not a COCO annotation file"),
    ],
)
def test_what_is_not_a_store_is_refused(tmp_path, make, message):
    make(tmp_path / "x")
    with pytest.raises(UserError, match=message):
        Store.open(tmp_path / "x")


def test_a_later_format_is_refused_and_a_damaged_index_does_no_harm(folder):
    index = folder / "index.json"
    index.write_text('{"format": "segtricks pseudo-labels 2"}')
    with pytest.raises(UserError, match="update it"):
        Store.open(folder)
    index.write_text("{")
    with pytest.warns(UserWarning, match="damaged and not used"):
        assert len(Store.open(folder)) == 3


def test_an_entry_that_is_not_there_is_named(folder):
    with pytest.raises(UnreadableImage, match=r"\.\./secret: has no entry"):
        Store.open(folder).entry("../secret")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_from_the_head_of_a_photograph_is_that_of_its_pixels(tmp_path, orientation):
    image = Image.new("RGB", (30, 20))
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_size(tmp_path / "a.jpg") == tuple(read_image(tmp_path / "a.jpg").shape[1:])


def test_a_size_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    for name in ("a.jpg", "missing.jpg"):
        with pytest.raises(UnreadableImage, match=name):
            read_size(tmp_path / name)
