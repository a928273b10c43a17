import json
import xml.etree.ElementTree as ET

import pytest

from segtricks.data.boxes import read_boxes
from segtricks.errors import UserError


def test_voc_loses_one_pixel_at_the_low_corner_alone_and_keeps_hard_objects(photographs):
    folder = photographs / "VOCdevkit" / "VOC2012" / "Annotations"
    boxes, easy = read_boxes(folder), read_boxes(folder, hard=False)
    assert boxes["2007_000027"].boxes.tolist() == [[173, 100, 349, 351]]
    assert boxes["2007_000027"].size == (500, 486)
    assert len(boxes) == len(list(folder.glob("*.xml"))) == 50
    for path in folder.glob("*.xml"):
        objects = ET.parse(path).getroot().findall("object")
        hard = [o for o in objects if "1" in (o.findtext("difficult"), o.findtext("truncated"))]
        assert len(boxes[path.stem].boxes) == len(objects)
        assert len(easy[path.stem].boxes) == len(objects) - len(hard)


def test_coco_drops_crowds_and_keeps_images_without_objects(photographs):
    (file,) = (photographs / "coco" / "annotations").glob("*.json")
    content, boxes = json.loads(file.read_text()), read_boxes(file)
    assert len(boxes) == len(content["images"]) == 128
    assert sum(len(place.boxes) for place in boxes.values()) == sum(not a["iscrowd"] for a in content["annotations"])
    first = next(a for a in content["annotations"] if not a["iscrowd"])
    image = next(i for i in content["images"] if i["id"] == first["image_id"])
    x, y, w, h = first["bbox"]
    assert [x, y, x + w, y + h] in boxes[image["file_name"].removesuffix(".jpg")].boxes.tolist()
    assert all(place.boxes.shape[1] == 4 for place in boxes.values())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", "<annotation><size>", "is not a VOC annotation"),
        ("a.xml", "<annotation></annotation>", "its annotation states no size"),
        ("a.json", "[1, 2]", "is not a COCO annotation file"),
        ("a.json", '{"images": []}', "KeyError 'annotations'"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_boxes(tmp_path if name.endswith("xml") else tmp_path / name)


def test_missing_and_empty_places_say_what_to_pass(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="Annotations folder of VOC, or a COCO JSON file"):
            read_boxes(path)
