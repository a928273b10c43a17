import copy
import json
import math
import xml.etree.ElementTree as ET

import pytest

from segtricks.data.boxes import find_boxes, read_boxes
from segtricks.errors import UserError


def test_voc_loses_one_pixel_at_the_low_corner_alone_and_keeps_hard_objects(photographs):
    folder = photographs / "VOCdevkit" / "VOC2012" / "Annotations"
    boxes, easy = read_boxes(folder), read_boxes(folder, hard=False)
    assert boxes["2007_000027"].boxes.tolist() == [[173, 100, 349, 351]]
    assert boxes["2007_000027"].size == (500, 486)
    assert len(boxes) == len(list(folder.glob("*.xml"))) == 50
    assert not boxes.problems
    for path in folder.glob("*.xml"):
        objects = ET.parse(path).getroot().findall("object")
        hard = [o for o in objects if "1" in (o.findtext("difficult"), o.findtext("truncated"))]
        assert len(boxes[path.stem].boxes) == len(objects)
        assert len(easy[path.stem].boxes) == len(objects) - len(hard)


def test_coco_drops_crowds_and_keeps_images_without_objects(photographs):
    (file,) = (photographs / "coco" / "annotations").glob("*.json")
    content, boxes = json.loads(file.read_text()), read_boxes(file)
    assert len(boxes) == len(content["images"]) == 128
    assert not boxes.problems
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
        ("a.json", '{"images": [], "annotations": []}', "none of its 0 images are usable"),
    ],
)
def test_files_of_which_nothing_can_be_used_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_boxes(tmp_path if name.endswith("xml") else tmp_path / name)


def test_missing_and_empty_places_say_what_to_pass(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="Annotations folder of VOC, or a COCO JSON file"):
            read_boxes(path)


BOXES = ([4, 4, 20, 20], [30, 10, 20, 30], [10, 20, 30, 20])
CORNERS = ([4, 4, 24, 24], [30, 10, 50, 40], [10, 20, 40, 40])
SOUND = {
    "images": [{"id": i, "file_name": f"im{i}.png", "height": 48, "width": 64} for i in range(3)],
    "annotations": [
        {"id": i, "image_id": i, "category_id": 1, "bbox": box, "iscrowd": 0} for i, box in enumerate(BOXES)
    ],
    "categories": [{"id": 1, "name": "o"}],
}


def _change(where, number, **values):
    content = copy.deepcopy(SOUND)
    content[where][number] |= values
    return content


def _every_box(change):
    content = copy.deepcopy(SOUND)
    for item, corners in zip(content["annotations"], CORNERS, strict=True):
        item["bbox"] = change(item["bbox"], corners)
    return content


def _read(tmp_path, content):
    (tmp_path / "c.json").write_text(json.dumps(content))
    return read_boxes(tmp_path / "c.json")


def _said(boxes):
    return [(each["what"], each["count"], each["first"]) for each in boxes.problems.as_dict()["found"]]


NO_BOX = "annotations without a box of four finite numbers, not used"
NO_AREA = "boxes without area, not used"
OUTSIDE = "boxes outside of their image, not used"
TINY = "boxes within a single pixel, as if in 0..1, not used"
CUT = "boxes that leave their image by more than a pixel, cut to it"


@pytest.mark.parametrize(
    ("box", "what", "left"),
    [
        (None, NO_BOX, None),
        ([], NO_BOX, None),
        ([4, 4, 20], NO_BOX, None),
        ({"x": 4}, NO_BOX, None),
        ([math.nan, 4, 20, 20], NO_BOX, None),
        ([4, math.inf, 20, 20], NO_BOX, None),
        (["four", 4, 20, 20], NO_BOX, None),
        ([True, 4, 20, 20], NO_BOX, None),
        ([24, 24, -20, -20], NO_AREA, None),
        ([4, 4, 0, 20], NO_AREA, None),
        ([100, 4, 20, 20], OUTSIDE, None),
        ([-30, 4, 20, 20], OUTSIDE, None),
        ([0.1, 0.1, 0.3, 0.3], TINY, None),
        ([-4, 4, 24, 20], CUT, [0, 4, 20, 24]),
        ([50, 40, 30, 30], CUT, [50, 40, 64, 48]),
    ],
)
def test_a_box_that_makes_no_sense_is_named_and_its_image_scored_by_the_others(tmp_path, box, what, left):
    content = _change("annotations", 0, bbox=box)
    alone = _read(tmp_path, content)
    assert _said(alone) == [(what, 1, ["0 of im0.png"])]
    assert alone["im0"].fault == ("" if left else "none of its 1 boxes is usable")
    assert alone["im0"].boxes.tolist() == ([left] if left else [])
    assert [alone[name].boxes.tolist() for name in ("im1", "im2")] == [[CORNERS[1]], [CORNERS[2]]]

    content["annotations"].append(SOUND["annotations"][0] | {"id": 9, "bbox": [1, 2, 3, 4]})
    both = _read(tmp_path, content)["im0"]
    assert (both.boxes.tolist(), both.fault) == ([*([left] if left else []), [1, 2, 4, 6]], "")


def test_a_missing_box_is_as_one_that_makes_no_sense(tmp_path):
    content = copy.deepcopy(SOUND)
    del content["annotations"][0]["bbox"]
    assert _said(_read(tmp_path, content)) == [(NO_BOX, 1, ["0 of im0.png"])]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda box, corners: [box[0] / 64, box[1] / 48, box[2] / 64, box[3] / 48],
            "boxes in 0..1, read as shares of their image",
        ),
        (
            lambda box, corners: corners,
            "boxes read as x0, y0, x1, y1, since most leave their image as x, y, width, height",
        ),
        (lambda box, corners: [str(side) for side in box], "boxes of texts, read as numbers"),
    ],
)
def test_what_holds_for_all_boxes_of_a_file_is_decided_for_it_and_said(tmp_path, change, what):
    boxes = _read(tmp_path, _every_box(change))
    assert [each.boxes[0].tolist() for each in boxes.values()] == [pytest.approx(corners) for corners in CORNERS]
    assert [(said, count) for said, count, _ in _said(boxes)] == [(what, 3)]


def test_rounded_boxes_stay_as_they_are(tmp_path):
    boxes = _read(tmp_path, _change("annotations", 0, bbox=[-0.5, 4, 65, 20]))
    assert boxes["im0"].boxes.tolist() == [[-0.5, 4, 64.5, 24]]
    assert not boxes.problems


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"height": None}, "its annotation states no size"),
        ({"height": 0, "width": 0}, "its annotation states the size 0 x 0 (width x height)"),
        ({"height": -48}, "its annotation states the size 64 x -48 (width x height)"),
        ({"height": "tall"}, "its annotation states the size 64 x tall (width x height)"),
        ({"height": 48.5}, "its annotation states the size 64 x 48.5 (width x height)"),
        ({"height": 10**9}, "its annotation states the size 64 x 1000000000, beyond Pillow's limit"),
    ],
)
def test_an_image_without_a_size_is_set_aside_alone(tmp_path, change, fault):
    boxes = _read(tmp_path, _change("images", 0, **change))
    assert [each.fault for each in boxes.values()] == [fault, "", ""]
    assert [boxes[name].boxes.tolist() for name in ("im1", "im2")] == [[CORNERS[1]], [CORNERS[2]]]
    assert not boxes.problems


def test_sizes_and_ids_may_be_texts(tmp_path):
    content = copy.deepcopy(SOUND)
    content["images"][0] |= {"id": "0", "height": "48"}
    content["annotations"][1]["image_id"] = "1"
    content["annotations"][2]["image_id"] = 2.0
    boxes = _read(tmp_path, content)
    assert [each.boxes.tolist() for each in boxes.values()] == [[corners] for corners in CORNERS]
    assert _said(boxes) == [("images whose size is a text, read as a number", 1, ["im0.png"])]


def test_two_images_of_one_id_are_both_set_aside(tmp_path):
    content = _change("images", 1, id=0)
    content["annotations"][1]["image_id"] = 0
    boxes = _read(tmp_path, content)
    fault = "its annotations have the id 0, which is that of im0.png and im1.png"
    assert [each.fault for each in boxes.values()] == [fault, fault, ""]
    assert boxes["im2"].boxes.tolist() == [CORNERS[2]]


def test_an_image_listed_twice_alike_counts_once(tmp_path):
    content = copy.deepcopy(SOUND)
    content["images"].append(content["images"][0])
    boxes = _read(tmp_path, content)
    assert [each.boxes.tolist() for each in boxes.values()] == [[corners] for corners in CORNERS]
    assert _said(boxes) == [("images listed twice, counted once", 1, ["im0.png"])]


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (("im0.png", "im0.png"), "its annotations are listed under several ids"),
        (("im0.png", "im0.jpg"), "its file lists im0.png and im0.jpg, which have one name"),
    ],
)
def test_names_that_two_images_share_set_both_aside(tmp_path, names, fault):
    boxes = _read(tmp_path, _change("images", 1, file_name=names[1]))
    assert {name: each.fault for name, each in boxes.items()} == {"im0": fault, "im2": ""}


def test_equal_stems_of_two_folders_go_by_their_paths(tmp_path):
    content = _change("images", 0, file_name="a/im1.png")
    content["images"][1]["file_name"] = "b/im1.png"
    boxes = _read(tmp_path, content)
    assert list(boxes) == ["a/im1", "b/im1", "im2"]
    assert find_boxes("photos/b/im1", boxes) is boxes["b/im1"]
    assert find_boxes("x/im2", boxes) is boxes["im2"]
    assert find_boxes("im1", boxes) is None


def test_an_annotation_of_a_foreign_image_is_named_and_the_image_that_may_lack_it_set_aside(tmp_path):
    boxes = _read(tmp_path, _change("annotations", 0, image_id=77))
    assert _said(boxes) == [("annotations of images that it does not list, not used", 1, ["0"])]
    fault = "it has no annotation, and its file has annotations of images that it does not list"
    assert [each.fault for each in boxes.values()] == [fault, "", ""]


def test_a_part_of_a_files_images_keeps_those_without_objects(tmp_path):
    content = copy.deepcopy(SOUND)
    content["annotations"] = [content["annotations"][0] | {"image_id": image} for image in (0, 1, 50, 51)]
    assert [each.fault for each in _read(tmp_path, content).values()] == ["", "", ""]


def test_a_foreign_category_is_named_and_its_box_used(tmp_path):
    boxes = _read(tmp_path, _change("annotations", 0, category_id=8))
    assert boxes["im0"].boxes.tolist() == [CORNERS[0]]
    assert _said(boxes) == [("annotations of categories that it does not list, used", 1, ["0"])]


def test_entries_of_another_kind_are_named(tmp_path):
    content = copy.deepcopy(SOUND)
    content["images"] += ["im3.png", {"id": 4}, {"file_name": "im5.png"}]
    content["annotations"].append("im0")
    boxes = _read(tmp_path, content)
    assert [each.boxes.tolist() for each in boxes.values()] == [[corners] for corners in CORNERS]
    assert [(what.split(",")[0], count) for what, count, _ in _said(boxes)] == [
        ("images without a file name or an id", 3),
        ("annotations of images that it does not list", 1),
    ]


@pytest.mark.parametrize(("crowd", "count"), [(0, 1), ("0", 1), (False, 1), (None, 1), (1, 0), ("1", 0), (True, 0)])
def test_crowds_are_told_whatever_they_are_written_as(tmp_path, crowd, count):
    assert len(_read(tmp_path, _change("annotations", 0, iscrowd=crowd))["im0"].boxes) == count


@pytest.mark.parametrize("name", ["images\\im0.png", "C:\\images\\im0.png", "/images/im0.png", "images/im0.png"])
def test_paths_of_other_systems_have_the_same_stem(tmp_path, name):
    assert list(_read(tmp_path, _change("images", 0, file_name=name))) == ["im0", "im1", "im2"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_understood(tmp_path, encoding):
    (tmp_path / "c.json").write_bytes(json.dumps(SOUND).encode(encoding))
    assert [each.boxes.tolist() for each in read_boxes(tmp_path / "c.json").values()] == [[box] for box in CORNERS]


def _xml(box=(5, 5, 24, 24), size=(64, 48)):
    sides = "".join(f"<{key}>{side}</{key}>" for key, side in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return (
        f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"<object><bndbox>{sides}</bndbox></object></annotation>"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not a VOC annotation: no element found"),
        ("\n" + '<?xml version="1.0"?>' + _xml(), "is not a VOC annotation: XML or text declaration not at start"),
        ("<project/>", "its annotation states no size in"),
        (_xml(size=(0, 0)), r"its annotation states the size 0 x 0 \(width x height\) in"),
        (_xml(box=("nan", 5, 24, 24)), "none of its 1 boxes is usable"),
        (_xml(box=(24, 24, 5, 5)), "none of its 1 boxes is usable"),
        (_xml(box=(0.1, 0.1, 0.4, 0.4)), "none of its 1 boxes is usable"),
    ],
)
def test_one_bad_xml_costs_its_image_alone(tmp_path, text, fault):
    import re

    (tmp_path / "a.xml").write_text(text)
    (tmp_path / "b.xml").write_bytes(b"\xef\xbb\xbf" + _xml().encode())  # with a byte order mark
    (tmp_path / "._b.xml").write_bytes(b"\x00\x05\x16\x07")  # what macOS leaves
    boxes = read_boxes(tmp_path)
    assert list(boxes) == ["a", "b"]
    assert re.search(fault, boxes["a"].fault)
    assert (boxes["b"].boxes.tolist(), boxes["b"].fault) == ([[4, 4, 24, 24]], "")


def test_voc_boxes_that_are_all_shares_are_read_so(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.xml").write_text(_xml(box=(0.25, 0.25, 0.5, 0.75)))
    boxes = read_boxes(tmp_path)
    assert boxes["a"].boxes.tolist() == [[16, 12, 32, 36]]
    assert _said(boxes) == [("boxes in 0..1, read as shares of their image", 2, ["a.xml, object 1", "b.xml, object 1"])]


@pytest.mark.parametrize(
    ("found", "written"),
    [("bndbox", "BndBox"), ("object", "Object"), ("xmin", "XMin"), ("<annotation>", '<annotation xmlns="http://a/b">')],
)
def test_tags_of_other_tools_are_understood(tmp_path, found, written):
    (tmp_path / "a.xml").write_text(_xml().replace(found, written))
    assert read_boxes(tmp_path)["a"].boxes.tolist() == [[4, 4, 24, 24]]
