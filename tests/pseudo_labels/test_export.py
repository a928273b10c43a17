import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from segtricks.errors import UserError
from segtricks.pseudo_labels import Store, encode_mask, to_coco, write_entry

SIZE = (20, 30)


@pytest.fixture
def arrays():
    rectangle = np.zeros(SIZE, bool)
    rectangle[2:8, 5:25] = True
    return np.stack([rectangle, np.random.default_rng(0).random(SIZE) > 0.5])


@pytest.fixture
def photographs(tmp_path):
    paths = [tmp_path / "photos" / f"{name}.jpg" for name in "abc"]
    paths[0].parent.mkdir()
    for path in paths:
        Image.new("RGB", SIZE[::-1]).save(path)
    return paths


def test_coco_reads_what_is_exported(tmp_path, photographs, arrays):
    full = encode_mask(np.ones(SIZE, bool))
    write_entry(tmp_path / "store", "a", "a.jpg", SIZE, [encode_mask(arrays[0], 0.75, 3), full, encode_mask(arrays[1])])
    write_entry(tmp_path / "store", "b", "b.jpg", SIZE, [full])
    write_entry(tmp_path / "store", "c", "c.jpg", SIZE, [encode_mask(arrays[1], 0.5, 0)])
    content = to_coco(Store.open(tmp_path / "store"), photographs, tmp_path / "out.json")
    coco = COCO(tmp_path / "out.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.jpg", "c.jpg"]
    for number, expected in ((1, arrays), (2, arrays[1:])):
        items = coco.loadAnns(coco.getAnnIds(imgIds=number))
        np.testing.assert_array_equal(np.stack([coco.annToMask(item) for item in items]), expected)
        assert [item["area"] for item in items] == expected.sum((1, 2)).tolist()
    first = content["annotations"][0]
    assert (first["bbox"], first["score"], first["category_id"]) == ([5, 2, 20, 6], 0.75, 3)
    assert [category["name"] for category in content["categories"]] == ["0", "3", "object"]
    np.testing.assert_array_equal(Store.open(tmp_path / "out.json").entry("a").arrays(), arrays)


def test_masks_without_a_class_are_objects(tmp_path, photographs, arrays):
    write_entry(tmp_path / "store", "a", "a.jpg", SIZE, [encode_mask(arrays[0])])
    content = to_coco(Store.open(tmp_path / "store"), photographs)
    assert content["categories"] == [{"id": 1, "name": "object"}]
    with pytest.raises(UserError, match="Nothing in"):
        to_coco(Store.open(tmp_path / "store"), photographs[1:])
