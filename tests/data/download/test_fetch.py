import dataclasses
import hashlib
import io
import json
import shutil
import tarfile
import threading
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segtricks.data.datasets.registry import PUBLISHED, create_dataset
from segtricks.data.download import fetch as module
from segtricks.data.download import transfer as transfer_module
from segtricks.data.download.archive import Archive
from segtricks.data.download.fetch import Present, download, look
from segtricks.errors import UserError

from .download_server import Server, serving

Usage = namedtuple("Usage", "total used free")
STEMS = ("a", "b", "c")


def _image(mode: str = "RGB", suffix: str = "jpeg") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (12, 8), 255).save(file, suffix)
    return file.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def _tar(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _images(folder: str, start: str = "") -> dict[str, bytes]:
    return {f"{folder}/{start}{stem}.jpg": _image() for stem in STEMS}


def _masks(folder: str) -> dict[str, bytes]:
    return {f"{folder}/{stem}.png": _image("L", "png") for stem in STEMS}


def _duts(part: str) -> list[bytes]:
    return [_zip(_images(f"DUTS-{part}/DUTS-{part}-Image") | _masks(f"DUTS-{part}/DUTS-{part}-Mask"))]


def _voc(year: str) -> list[bytes]:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    xml = f"<a><size><width>12</width><height>8</height></size><object><name>cat</name>{box}</object></a>"
    folder = f"VOCdevkit/VOC{year}"
    files = _images(f"{folder}/JPEGImages") | {f"{folder}/Annotations/{stem}.xml": xml.encode() for stem in STEMS}
    return [_tar(files | {f"{folder}/ImageSets/Main/trainval.txt": "\n".join(STEMS).encode()})]


def _voc_labels(named: str, labelled: tuple[str, ...] = STEMS) -> list[bytes]:
    """VOC 2012 whose list ``named`` has all photographs that have a label map."""
    folder = "VOCdevkit/VOC2012"
    lists = {f"{folder}/ImageSets/Segmentation/{name}.txt": b"none" for name in ("train", "val")}
    lists[f"{folder}/ImageSets/Segmentation/{named}.txt"] = "\n".join(labelled).encode()
    maps = {f"{folder}/SegmentationClass/{stem}.png": _image("L", "png") for stem in labelled}
    return [_tar(_images(f"{folder}/JPEGImages") | lists | maps)]


def _voc_trainaug() -> list[bytes]:
    """The same for two photographs; the third has a label map of SBD alone."""
    matrix = io.BytesIO()
    savemat(matrix, {"GTcls": {"Segmentation": np.zeros((8, 12), np.uint8)}})
    file = f"benchmark_RELEASE/dataset/cls/{STEMS[-1]}.mat"
    return [*_voc_labels("train", STEMS[:-1]), _tar({file: matrix.getvalue()})]


def _coco() -> list[bytes]:
    photos = {**_images("train2014", "COCO_train2014_"), "train2014/not_listed.jpg": _image()}
    names = [f"COCO_train2014_{stem}.jpg" for stem in STEMS]
    images = [{"id": i, "file_name": name, "height": 8, "width": 12} for i, name in enumerate(names)]
    boxes = [{"id": i, "image_id": i, "bbox": [0, 0, 4, 4], "iscrowd": 0, "category_id": 1} for i in range(3)]
    content = json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]})
    return [
        _zip(photos),
        _zip({"annotations/instances_train2014.json": content.encode()}),
        "\n".join(f"train2014/{name}" for name in names).encode(),
    ]


def _omron() -> list[bytes]:
    inner = _zip(_masks("pixelwiseGT-new-PNG"))
    trash = {"__MACOSX/DUT-OMRON-image/._a.jpg": b"Mac OS X"}
    return [_zip(_images("DUT-OMRON-image") | trash), _zip({"DUT-OMRON-gt-pixelwise.zip": inner})]


def _coco17(split: str) -> list[bytes]:
    images = [{"id": i, "file_name": f"{stem}.jpg", "height": 8, "width": 12} for i, stem in enumerate(STEMS)]
    codes = {"size": [8, 12], "counts": [10, 20, 66]}
    objects = [
        {"id": i, "image_id": i, "bbox": [0, 0, 4, 4], "iscrowd": 0, "category_id": 1, "segmentation": codes}
        for i in range(3)
    ]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "person"}]}
    outlines = _zip({f"annotations/instances_{split}2017.json": json.dumps(content).encode()})
    return [_zip(_images(f"{split}2017")), outlines]


def _coco17_panoptic(split: str) -> list[bytes]:
    name = f"panoptic_{split}2017"
    images = [{"id": i, "file_name": f"{stem}.jpg"} for i, stem in enumerate(STEMS)]
    segment = {"id": 255, "category_id": 1, "iscrowd": 0}
    maps = [{"image_id": i, "file_name": f"{stem}.png", "segments_info": [segment]} for i, stem in enumerate(STEMS)]
    categories = [{"id": 1, "supercategory": "person", "isthing": 1}]
    content = {"images": images, "annotations": maps, "categories": categories}
    inner = _zip({f"{name}/{stem}.png": _image("RGB", "png") for stem in STEMS})
    files = {f"annotations/{name}.json": json.dumps(content).encode(), f"annotations/{name}.zip": inner}
    return [_zip(_images(f"{split}2017")), _zip(files)]


def _coco_stuff27(split: str, name: str) -> list[bytes]:
    photos = {**_images(f"{split}2017"), f"{split}2017/not_listed.jpg": _image()}
    path = f"COCO/CocoStuff164k/curated/{split}2017/{name}.txt"
    return [_zip(photos), _zip(_masks(f"{split}2017")), _tar({path: "\n".join(STEMS).encode()})]


def _cityscapes(split: str) -> list[bytes]:
    photos = {f"leftImg8bit/{split}/ulm/{stem}_leftImg8bit.png": _image("RGB", "png") for stem in STEMS}
    files = {f"gtFine/{split}/ulm/{stem}_gtFine_polygons.json": b"{}" for stem in STEMS}
    for kind in ("color", "instanceIds", "labelIds"):
        files |= {f"gtFine/{split}/ulm/{stem}_gtFine_{kind}.png": _image("L", "png") for stem in STEMS}
    return [_zip(photos), _zip(files)]


LAYOUTS: dict[str, Callable[[], list[bytes]]] = {
    "duts-tr": lambda: _duts("TR"),
    "duts-te": lambda: _duts("TE"),
    "dut-omron": _omron,
    "ecssd": lambda: [_zip(_images("images")), _zip(_masks("ground_truth_mask"))],
    "voc07": lambda: _voc("2007"),
    "voc12": lambda: _voc("2012"),
    "voc12-train": lambda: _voc_labels("train"),
    "voc12-trainaug": _voc_trainaug,
    "voc12-val": lambda: _voc_labels("val"),
    "coco20k": _coco,
    "coco17-train": lambda: _coco17("train"),
    "coco17-val": lambda: _coco17("val"),
    "coco17-panoptic-train": lambda: _coco17_panoptic("train"),
    "coco17-panoptic-val": lambda: _coco17_panoptic("val"),
    "coco-stuff27-train": lambda: _coco_stuff27("train", "Coco164kFull_Stuff_Coarse"),
    "coco-stuff27-val": lambda: _coco_stuff27("val", "Coco164kFull_Stuff_Coarse_7"),
    "cityscapes-train": lambda: _cityscapes("train"),
    "cityscapes-val": lambda: _cityscapes("val"),
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(transfer_module, "WAITS", (0.0, 0.0))
    with serving() as server:
        yield server


@pytest.fixture
def offer(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Serve a dataset of three images in its published layout; its class then knows their checksums and number."""

    def offer(name: str) -> Any:
        kind: Any = PUBLISHED[name]
        archives = []
        for archive, content in zip(kind.archives, LAYOUTS[name](), strict=True):
            server.files[archive.name] = content
            known = {
                key: hashlib.new(key, content).hexdigest()
                for key in ("md5", "sha256")
                if getattr(archive, key) is not None
            }
            size = archive.size and len(content)
            leaves = tuple((path, min(count, len(STEMS))) for path, count in archive.leaves)
            changed = {"url": server.url(archive.name), "size": size, "leaves": leaves, "account": ""}
            archives.append(dataclasses.replace(archive, **changed, **known))
        monkeypatch.setattr(kind, "archives", tuple(archives))
        monkeypatch.setattr(kind, "expected", len(STEMS))
        return kind

    return offer


def _waiting(root: Path) -> set[str]:
    return {path.name for path in (root / ".downloads").iterdir() if path.suffix != ".lock"}


def test_every_published_dataset_has_a_layout_here() -> None:
    assert set(LAYOUTS) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_from_nothing_to_a_dataset_that_opens(tmp_path: Path, server: Server, offer, name: str) -> None:  # type: ignore[no-untyped-def]
    kind = offer(name)
    root = tmp_path / "data"
    assert look(kind, root) == Present(0, False)
    assert download(name, kind, root)
    dataset = create_dataset(name, root, strict=True)
    assert [path.stem.removesuffix("_leftImg8bit")[-1] for path in dataset.images] == list(STEMS)
    assert dataset[0]["image"].shape == (3, 8, 12)
    assert look(kind, root).whole(kind)
    assert _waiting(root) <= {"checksums.json"}
    assert not list(root.rglob(".unpacking*"))
    requests = len(server.log)
    assert requests == len(kind.archives)
    assert not download(name, kind, root)
    assert len(server.log) == requests


def test_voc_of_both_years_share_their_folder(tmp_path: Path, offer) -> None:  # type: ignore[no-untyped-def]
    for name in ("voc07", "voc12"):
        download(name, offer(name), tmp_path)
    assert (
        len(create_dataset("voc07", tmp_path, strict=True)) == len(create_dataset("voc12", tmp_path, strict=True)) == 3
    )


def test_photographs_that_another_dataset_has_brought_are_not_fetched_again(  # type: ignore[no-untyped-def]
    tmp_path: Path, server: Server, offer, capsys
) -> None:
    download("coco17-val", offer("coco17-val"), tmp_path)
    download("coco17-panoptic-val", offer("coco17-panoptic-val"), tmp_path)
    names = [name for name, _ in server.log]
    assert names == ["val2017.zip", "annotations_trainval2017.zip", "panoptic_annotations_trainval2017.zip"]
    assert "val2017.zip: its files are in" in capsys.readouterr().out
    (tmp_path / "coco/val2017/a.jpg").unlink()
    assert download("coco17-val", offer("coco17-val"), tmp_path)
    assert [name for name, _ in server.log][3:] == ["val2017.zip"]


def test_what_needs_an_account_is_taken_where_it_was_fetched_by_hand(  # type: ignore[no-untyped-def]
    tmp_path: Path, server: Server, offer
) -> None:
    kind = offer("cityscapes-val")
    page = "https://example.org/login"
    kind.archives = tuple(dataclasses.replace(archive, account=page) for archive in kind.archives)
    with pytest.raises(UserError, match=rf"(?s){page}.*leftImg8bit_trainvaltest.zip from .*gtFine_trainvaltest.zip"):
        download("cityscapes-val", kind, tmp_path)
    for archive in kind.archives:
        (tmp_path / ".downloads" / archive.name).write_bytes(server.files[archive.name])
    assert download("cityscapes-val", kind, tmp_path)
    assert server.log == []
    assert look(kind, tmp_path).whole(kind)


def test_archives_are_kept_on_request(tmp_path: Path, server: Server, offer) -> None:  # type: ignore[no-untyped-def]
    download("ecssd", offer("ecssd"), tmp_path, keep=True)
    assert _waiting(tmp_path) == {"images.zip", "ground_truth_mask.zip"}
    assert (tmp_path / ".downloads/images.zip").read_bytes() == server.files["images.zip"]


def test_a_transfer_cut_in_the_middle_goes_on_with_the_next_call(tmp_path: Path, server: Server, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    server.cuts, server.statuses = [700], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer_module, "WAITS", ())
        with pytest.raises(UserError, match=r"ended after 700 bytes of .* What has come, 700 bytes, is kept\."):
            download("ecssd", kind, tmp_path)
    assert _waiting(tmp_path) == {"images.zip.part", "images.zip.part.json"}
    download("ecssd", kind, tmp_path)
    assert server.log == [("images.zip", None), ("images.zip", "bytes=700-"), ("ground_truth_mask.zip", None)]
    assert look(kind, tmp_path).whole(kind)


@pytest.mark.parametrize(("name", "reason"), [("ecssd", "its sha256 is"), ("voc07", "its md5 is")])
def test_another_file_of_the_same_size_is_removed_and_never_unpacked(  # type: ignore[no-untyped-def]
    tmp_path: Path, server: Server, offer, name: str, reason: str
) -> None:
    kind = offer(name)
    first = kind.archives[0]
    server.files[first.name] = bytes(len(server.files[first.name]))
    with pytest.raises(UserError) as caught:
        download(name, kind, tmp_path)
    message = str(caught.value)
    assert f"{first.url} is not the published file: {reason}" in message
    assert f"{first.checksum[1]} was published. It was removed." in message
    assert f"Next: fetch {first.name} by hand into {tmp_path / '.downloads'} and type the same command" in message
    assert _waiting(tmp_path) == set()
    assert look(kind, tmp_path) == Present(0, False)


def test_another_size_is_named_before_the_transfer(tmp_path: Path, server: Server, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    server.files["images.zip"] += b"more"
    with pytest.raises(UserError, match=r"is a file of [\d,]+ bytes, [\d,]+ were published"):
        download("ecssd", kind, tmp_path)
    assert _waiting(tmp_path) == set()


def test_a_web_page_in_place_of_an_archive_without_checksum_is_refused(tmp_path: Path, server: Server, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("dut-omron")
    server.files[kind.archives[0].name] = b"<html>This domain is for sale</html>"
    with pytest.raises(UserError, match="neither zip nor tar, and begins with b'<html>This domain is for"):
        download("dut-omron", kind, tmp_path)
    assert _waiting(tmp_path) == set()


def test_without_a_checksum_the_one_seen_is_noted_and_a_later_change_is_named(  # type: ignore[no-untyped-def]
    tmp_path: Path, server: Server, offer, capsys
) -> None:
    kind = offer("dut-omron")
    urls = [archive.url for archive in kind.archives]
    before = {url: hashlib.sha256(server.files[url.rsplit("/", 1)[1]]).hexdigest() for url in urls}
    download("dut-omron", kind, tmp_path)
    assert json.loads((tmp_path / ".downloads/checksums.json").read_text()) == before
    assert "no checksum is published and the address is plain http: its sha256" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "DUT-OMRON")
    server.files[kind.archives[0].name] = _zip({**_images("DUT-OMRON-image"), "new.txt": b"new"})
    after = hashlib.sha256(server.files[kind.archives[0].name]).hexdigest()
    with pytest.warns(UserWarning, match=f"another file than before: sha256 {after}, it was {before[urls[0]]}"):
        download("dut-omron", kind, tmp_path)
    assert json.loads((tmp_path / ".downloads/checksums.json").read_text()) == {**before, urls[0]: after}


def test_a_file_put_there_by_hand_is_used_instead_of_a_transfer(tmp_path: Path, server: Server, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads/images.zip").write_bytes(server.files["images.zip"])
    download("ecssd", kind, tmp_path)
    assert server.log == [("ground_truth_mask.zip", None)]
    assert look(kind, tmp_path).whole(kind)


def test_a_wrong_file_put_there_by_hand_is_named_and_left_to_its_owner(tmp_path: Path, server: Server, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads/images.zip").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"images\.zip is not the published file: it has 4 bytes.*\nRemove it and type"):
        download("ecssd", kind, tmp_path)
    assert _waiting(tmp_path) == {"images.zip"}
    assert server.log == []


def test_a_missing_address_says_what_to_do(tmp_path: Path, server: Server, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    del server.files["ground_truth_mask.zip"]
    with pytest.raises(UserError) as caught:
        download("ecssd", kind, tmp_path)
    assert str(caught.value) == (
        f"{server.url('ground_truth_mask.zip')} answers 404 Not Found.\n"
        f"Next: fetch ground_truth_mask.zip by hand into {tmp_path / '.downloads'} and type the same command again, "
        "or pass an address for each of images.zip, ground_truth_mask.zip as --url."
    )
    # What has come already is not fetched a second time.
    server.files["ground_truth_mask.zip"] = LAYOUTS["ecssd"]()[1]
    server.log.clear()
    (tmp_path / ".downloads/ground_truth_mask.zip").write_bytes(server.files["ground_truth_mask.zip"])
    download("ecssd", kind, tmp_path)
    assert server.log == []


def test_other_addresses_give_the_same_files_under_their_published_names(tmp_path: Path, server: Server, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    server.files["mirror?id=1"], server.files["mirror?id=2"] = LAYOUTS["ecssd"]()
    download("ecssd", kind, tmp_path, [server.url("mirror?id=1"), server.url("mirror?id=2")], keep=True)
    assert [path for path, _ in server.log] == ["mirror?id=1", "mirror?id=2"]
    assert _waiting(tmp_path) == {"images.zip", "ground_truth_mask.zip"}


def test_a_mirror_with_another_file_is_refused_by_the_published_checksum(tmp_path: Path, server: Server, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("voc07")
    server.files["mirror"] = _voc("2012")[0]
    with pytest.raises(UserError, match=r"mirror is not the published file: its md5 is .*\n.* pass another address as"):
        download("voc07", kind, tmp_path, [server.url("mirror")])
    assert look(kind, tmp_path) == Present(0, False)


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        (["http://127.0.0.1/a"], r"ecssd consists of images\.zip, ground_truth_mask\.zip: pass 2 addresses"),
        (["file:///a.zip", "file:///b.zip"], "'file:///a.zip' is not an address to fetch from"),
    ],
)
def test_wrong_addresses_are_named_before_anything_is_made(tmp_path: Path, offer, urls, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        download("ecssd", offer("ecssd"), tmp_path, urls)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_before_the_transfer(tmp_path: Path, offer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 500))
    with pytest.raises(UserError, match=r"images\.zip \(.* needs .*, but 500 bytes are free in .*\.downloads"):
        download("ecssd", kind, tmp_path)
    assert _waiting(tmp_path) == set()


def test_room_is_asked_for_all_that_has_to_be_unpacked(tmp_path: Path, server: Server, offer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    images, masks = (len(server.files[archive.name]) for archive in kind.archives)
    free = {None: 2 * images, images: 2 * masks + images - 1}  # by what has come so far: a byte short at the second

    def usage(path: Path) -> Usage:
        first = tmp_path / ".downloads/images.zip"
        return Usage(0, 0, free[first.stat().st_size if first.exists() else None])

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(UserError, match=r"ground_truth_mask\.zip .* needs"):
        download("ecssd", kind, tmp_path)


def test_an_incomplete_dataset_is_completed(tmp_path: Path, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    download("ecssd", kind, tmp_path)
    (tmp_path / "ECSSD/images/b.jpg").unlink()
    assert look(kind, tmp_path) == Present(2, False)
    download("ecssd", kind, tmp_path)
    assert look(kind, tmp_path) == Present(3, True)


@pytest.mark.parametrize("name", ["voc07", "coco20k", "duts-te"])
def test_a_dataset_without_its_annotations_is_incomplete(tmp_path: Path, offer, name: str) -> None:  # type: ignore[no-untyped-def]
    kind = offer(name)
    download(name, kind, tmp_path)
    places = {
        "voc07": "VOCdevkit/VOC2007/Annotations",
        "coco20k": "coco/annotations",
        "duts-te": "DUTS-TE/DUTS-TE-Mask",
    }
    shutil.rmtree(tmp_path / places[name])
    assert look(kind, tmp_path) == Present(3, False)


def test_listed_images_that_are_not_there_do_not_count(tmp_path: Path, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("voc07")
    download("voc07", kind, tmp_path)
    (tmp_path / "VOCdevkit/VOC2007/JPEGImages/b.jpg").unlink()
    assert look(kind, tmp_path) == Present(2, True)


def test_more_images_than_published_are_not_removed_by_a_download(tmp_path: Path, server: Server, offer) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    download("ecssd", kind, tmp_path)
    shutil.copy(tmp_path / "ECSSD/images/a.jpg", tmp_path / "ECSSD/images/mine.jpg")
    server.log.clear()
    with pytest.raises(
        UserError, match=r"4 images .* 3 were published: some do not belong there\.\nNext: segtricks data"
    ):
        download("ecssd", kind, tmp_path)
    assert server.log == []


def test_archives_that_lack_an_image_are_named_and_stay(tmp_path: Path, offer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    monkeypatch.setattr(kind, "expected", 4)
    with pytest.raises(UserError, match=r"not whole after unpacking images\.zip, .*: 3 of 4 images are there"):
        download("ecssd", kind, tmp_path)
    assert _waiting(tmp_path) == {"images.zip", "ground_truth_mask.zip"}


def test_archives_whose_masks_do_not_pair_are_named(tmp_path: Path, server: Server, offer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    kind = offer("dut-omron")
    server.files[kind.archives[1].name] = _zip({"pixelwiseGT-new-PNG/a.png": _image("L", "png")})
    with pytest.raises(UserError, match=r"DUT-OMRON: 2 of its images have no mask of the same name: b, c\."):
        download("dut-omron", kind, tmp_path)


def test_a_hostile_archive_from_a_server_leaves_nothing_outside(tmp_path: Path, server: Server, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    kind: Any = PUBLISHED["duts-te"]
    server.files["DUTS-TE.zip"] = _zip({"DUTS-TE/a.jpg": b"good", "../../outside": b"bad"})
    monkeypatch.setattr(kind, "archives", (Archive(server.url("DUTS-TE.zip")),))
    root = tmp_path / "deep/data"
    with pytest.raises(UserError, match="duts-te is not whole after unpacking"):
        download("duts-te", kind, root)
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"data"}


def test_a_second_download_waits_for_the_first_and_finds_all_there(
    tmp_path: Path, server: Server, offer, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    kind = offer("ecssd")
    begun, go_on = threading.Event(), threading.Event()
    fetch = module._fetch

    def slow(*words: Any) -> Path:
        begun.set()
        assert go_on.wait(5)
        return fetch(*words)

    monkeypatch.setattr(module, "_fetch", slow)
    results: list[bool] = []
    first, second = (threading.Thread(target=lambda: results.append(download("ecssd", kind, tmp_path))) for _ in "12")
    first.start()
    assert begun.wait(5)
    second.start()
    second.join(0.2)
    assert second.is_alive()
    go_on.set()
    first.join(5)
    second.join(5)
    assert results == [True, False]
    assert len(server.log) == 2
