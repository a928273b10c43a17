"""Each format is opened by its reader: pycocotools and supervision (https://supervision.roboflow.com).

The readers of labelme and Ultralytics are parts of large packages; both were tried by hand. What they do differently
from supervision stands in for them here: labelme finds the photograph by ``imagePath`` and checks its size, Ultralytics
finds the labels by the photograph's path.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from segtricks.data.images import read_mask
from segtricks.data.label_entry import encode_mask, write_entry
from segtricks.data.sample import Instances
from segtricks.pseudo_labels import formats
from segtricks.pseudo_labels.formats import Exporter
from segtricks.pseudo_labels.instances import InstanceWriter, PanopticWriter
from segtricks.pseudo_labels.outlines import outlines
from segtricks.pseudo_labels.writer import MaskWriter
from segtricks.words import FORMATS


def iou(one, other):
    return (one & other).sum() / max(1, (one | other).sum())


def any_of(masks, shape):
    return np.logical_or.reduce(list(masks), axis=0) if len(masks) else np.zeros(shape, bool)


def write(folder, masks, writer_class=MaskWriter, formats=FORMATS, min_area=0.0):
    """Write photographs and masks of these names; return the writer, their paths and the content of COCO."""
    paths = []
    for name, mask in masks.items():
        paths.append(folder / "photos" / name)
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        colours = np.random.default_rng(0).integers(0, 256, (*np.asarray(mask).shape[-2:], 3), dtype=np.uint8)
        Image.fromarray(colours).save(paths[-1])
    writer = writer_class(folder / "photos", folder / "out", paths, formats)
    for path, mask in zip(paths, masks.values(), strict=True):
        photo = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)
        if writer_class is MaskWriter:
            mask = torch.as_tensor(mask, dtype=torch.float32)[None]
        writer.write(mask, photo, path)
    exporter = Exporter(writer, formats, min_area)
    content = exporter.write(paths, paths)
    exporter.write_names()
    return writer, paths, content


def labelme_mask(path):
    """What labelme makes of a file: it opens the photograph, checks its size, and draws the polygons by Pillow."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["version"] and content["flags"] == {} and content["imageData"] is None
    with Image.open(path.parent / content["imagePath"]) as photo:
        assert photo.size == (content["imageWidth"], content["imageHeight"])
        picture = Image.new("L", photo.size)
    for shape in content["shapes"]:
        assert shape["shape_type"] == "polygon" and isinstance(shape["label"], str)
        assert shape["group_id"] is None or isinstance(shape["group_id"], int)
        ImageDraw.Draw(picture).polygon([tuple(point) for point in shape["points"]], outline=1, fill=1)
    return np.asarray(picture) > 0


def yolo_masks(image):
    """What Ultralytics makes of a photograph of its data set: the last ``images`` of its path becomes ``labels``."""
    before, after = str(image.parent / image.stem).rsplit("/images/", 1)
    lines = Path(f"{before}/labels/{after}.txt").read_text().splitlines()
    size = Image.open(image).size
    masks = []
    for line in lines:
        number, *values = map(float, line.split())
        corners = np.array(values).reshape(-1, 2)
        assert number == int(number) and corners.min() >= 0 and corners.max() <= 1 and len(values) >= 6
        picture = Image.new("L", size)
        points = (corners * size).astype(int)
        ImageDraw.Draw(picture).polygon([tuple(point) for point in points.tolist()], outline=1, fill=1)
        masks.append(np.asarray(picture) > 0)
    return masks


@pytest.fixture(scope="module")
def real(photographs, tmp_path_factory):
    """Real masks, as soft ones, written in all formats."""
    paths = sorted((photographs / "ECSSD" / "ground_truth_mask").glob("*.png"))[5::40]
    masks = {f"{path.stem}.png": read_mask(path)[0].numpy() / 255 for path in paths}
    return masks, *write(tmp_path_factory.mktemp("real"), masks)


def test_coco_gives_real_masks_back_exactly(real, tmp_path):
    masks, _, _, content = real
    (tmp_path / "instances.json").write_text(json.dumps(content))
    coco = COCO(tmp_path / "instances.json")
    for number, image in coco.imgs.items():
        objects = coco.loadAnns(coco.getAnnIds(number))
        decoded = [coco.annToMask(each) > 0 for each in objects]
        expected = masks[image["file_name"]] > 0.5
        assert (any_of(decoded, expected.shape) == expected).all()
        for each, mask in zip(objects, decoded, strict=True):
            rows, columns = np.nonzero(mask)
            assert each["area"] == mask.sum() and each["iscrowd"] == 0
            assert each["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert content["categories"] == [{"id": 1, "name": "object"}]


def test_supervision_reads_yolo_and_labelme_and_finds_the_masks(real):
    supervision = pytest.importorskip("supervision", reason='its readers: pip install "supervision"')
    masks, writer, _, content = real
    out, photos = writer.output, writer.photos
    yolo = supervision.DetectionDataset.from_yolo(
        str(out / "yolo/images"), str(out / "yolo/labels"), str(out / "yolo/data.yaml"), force_masks=True
    )
    labelme = supervision.DetectionDataset.from_labelme(str(photos), str(out / "labelme"), force_masks=True)
    assert yolo.classes == labelme.classes == ["object"]
    for dataset in (yolo, labelme):
        assert len(dataset) == len(masks)
        for path, _, found in dataset:
            expected = masks[Path(path).name] > 0.5
            assert iou(any_of(found.mask, expected.shape), expected) > 0.98
        assert sum(len(found) for _, _, found in dataset) == len(content["annotations"])


def test_labelme_finds_photographs_and_their_masks(real):
    masks, writer, paths, _ = real
    for path in paths:
        assert iou(labelme_mask(writer.exported(path)["labelme"]), masks[path.name] > 0.5) > 0.98


def test_a_cutout_is_the_photograph_with_the_soft_mask_as_alpha(real):
    masks, writer, paths, _ = real
    for path in paths:
        with Image.open(writer.exported(path)["cutout"]) as cutout:
            assert cutout.mode == "RGBA"
            pixels = np.asarray(cutout)
        assert (pixels[..., :3] == np.asarray(Image.open(path))).all()
        assert np.abs(pixels[..., 3] - masks[path.name] * 255).max() <= 0.5


@pytest.fixture
def odd():
    """Masks of 40 x 60: a ring and a speck, two parts that touch at a corner, nothing, everything."""
    ring, corner = np.zeros((40, 60)), np.zeros((40, 60))
    ring[5:35, 5:35] = 1
    ring[10:30, 10:30] = 0
    ring[18:22, 18:22] = 1
    ring[2, 50] = 1
    corner[4:10, 4:10] = corner[10:20, 10:30] = 1
    return {
        "sub folder/ring é.png": ring,
        "corner.png": corner,
        "corner.jpg": corner,
        "日本.png": np.zeros((40, 60)),
        "full.gif": np.ones((40, 60)),
    }


def test_holes_parts_specks_and_odd_names_are_kept(odd, tmp_path):
    writer, paths, content = write(tmp_path, odd)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert list(names.values()) == list(odd)
    counts = [sum(item["image_id"] == number for item in content["annotations"]) for number in names]
    assert counts == [3, 2, 2, 0, 1]
    images = sorted((writer.output / "yolo/images").rglob("*.*"))
    expected = ["corner.jpg.jpg", "corner.png.png", "full.png", "sub folder/ring é.png", "日本.png"]
    assert [image.relative_to(writer.output / "yolo/images").as_posix() for image in images] == expected
    assert yaml.safe_load((writer.output / "yolo/data.yaml").read_text())["names"] == {0: "object"}
    masks = dict(
        zip(expected, [odd["corner.jpg"], odd["corner.png"], odd["full.gif"], *list(odd.values())[::3]], strict=True)
    )
    for image, (name, mask) in zip(images, masks.items(), strict=True):
        found = yolo_masks(image)
        assert len(found) == {"日本.png": 0, "full.png": 1, "sub folder/ring é.png": 3}.get(name, 2)
        assert (any_of(found, (40, 60)) == (mask > 0)).all(), name
    for path, mask in zip(paths, odd.values(), strict=True):
        assert (labelme_mask(writer.exported(path)["labelme"]) == (mask > 0)).all(), path


@pytest.mark.parametrize("folder", ["images", "images/images", "a/images/b", "images/a/images", "my images"])
def test_yolo_labels_are_found_where_photographs_lie_in_folders_called_images(odd, tmp_path, folder):
    writer, _, _ = write(tmp_path, {f"{folder}/corner.jpg": odd["corner.jpg"], "full.png": odd["full.gif"]})
    images = sorted((writer.output / "yolo/images").rglob("*.*g"))
    found = {image.name: any_of(yolo_masks(image), (40, 60)) for image in images}
    assert len(found) == 2
    assert (found["corner.jpg"] == (odd["corner.jpg"] > 0)).all() and found["full.png"].all()


def test_outlines_are_computed_once_for_all_formats(odd, tmp_path, monkeypatch):
    counted = []
    monkeypatch.setattr(formats, "outlines", lambda pixels: counted.append(pixels) or outlines(pixels))
    write(tmp_path, odd)
    assert len(counted) == 8  # as many as there are objects


def test_objects_below_the_least_area_are_left_out(odd, tmp_path):
    _, _, content = write(tmp_path, odd, min_area=0.01)  # 24 pixels
    assert [item["area"] for item in content["annotations"]] == [500, 36, 200, 36, 200, 2400]


def test_classes_have_their_own_numbers_as_names(tmp_path):
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:20, 5:20] = masks[1, 25:35, 30:50] = True
    writer, _, _ = write(tmp_path, {"a.png": masks[0]}, formats=("masks",))
    encoded = [encode_mask(mask, 0.5, number) for mask, number in zip(masks, (2, 1), strict=True)]
    write_entry(writer.output, "a", "a.png", (40, 60), encoded)
    path = tmp_path / "photos/a.png"
    several = PanopticWriter(tmp_path / "photos", writer.output, [path])
    exporter = Exporter(several, ("yolo", "labelme"))
    content = exporter.write([path], [path])
    exporter.write_names()
    assert content["categories"] == [{"id": 1, "name": "1"}, {"id": 2, "name": "2"}]
    names = yaml.safe_load((writer.output / "yolo/data.yaml").read_text())
    assert names == {"train": "images", "val": "images", "names": {0: "0", 1: "1", 2: "2"}}
    lines = several.exported(path)["yolo"].read_text().splitlines()
    shapes = json.loads(several.exported(path)["labelme"].read_text())["shapes"]
    assert [line.split()[0] for line in lines] == [shape["label"] for shape in shapes] == ["2", "1"]


def test_several_masks_a_photograph_stay_as_they_are(tmp_path):
    masks = torch.zeros(2, 40, 60, dtype=torch.bool)
    masks[0, 5:20, 5:20] = masks[0, 30:36, 5:20] = masks[1, 10:30, 10:50] = True
    instances = Instances(masks, torch.ones(2, dtype=torch.int64), torch.tensor([0.75, 0.5]))
    writer, (path,), content = write_instances(tmp_path, instances)
    assert [(item["score"], item["area"]) for item in content["annotations"]] == [(0.75, 315), (0.5, 800)]
    shapes = json.loads(writer.exported(path)["labelme"].read_text())["shapes"]
    assert [(shape["group_id"], shape["score"]) for shape in shapes] == [(1, 0.75), (1, 0.75), (None, 0.5)]
    found = yolo_masks(writer.output / "yolo/images/a.png")
    assert [mask.sum() >= expected.sum() for mask, expected in zip(found, masks.numpy(), strict=True)] == [True, True]
    assert iou(found[0], masks[0].numpy()) > 0.95, "parts of one object are joined by a line"
    alpha = np.asarray(Image.open(writer.exported(path)["cutout"]))[..., 3]
    assert (alpha == masks.any(dim=0).numpy() * 255).all()


def write_instances(folder, instances):
    path = folder / "photos" / "a.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(path)
    writer = InstanceWriter(folder / "photos", folder / "out", [path], FORMATS)
    writer.write(instances, torch.zeros(3, 40, 60, dtype=torch.uint8), path)
    exporter = Exporter(writer, FORMATS)
    return writer, [path], exporter.write([path], [path])


def test_pictures_that_no_format_needs_are_not_written_and_files_of_all_formats_are_discarded(odd, tmp_path):
    few, paths, _ = write(tmp_path, odd, formats=("coco",))
    assert not (few.output / "soft").exists() and all(few.exists(path) for path in paths)
    whole, paths, _ = write(tmp_path, odd)
    few.discard(paths)
    assert [path.name for path in whole.output.rglob("*") if path.is_file() and "yolo/" not in path.as_posix()] == []
    assert list((whole.output / "yolo/labels").rglob("*.txt")) == []


def test_a_photograph_is_copied_again_only_if_it_has_changed(odd, tmp_path):
    writer, paths, _ = write(tmp_path, odd)
    copy = writer.output / "yolo/images/sub folder/ring é.png"
    before = copy.stat()
    exporter = Exporter(writer, ("yolo",))
    exporter.write(paths, paths)
    assert copy.stat().st_ino == before.st_ino
    Image.new("RGB", (60, 40), "red").save(paths[0])
    exporter.write(paths, paths)
    assert copy.read_bytes() == paths[0].read_bytes()
