import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from segtricks.data.sample import Instances
from segtricks.pseudo_labels import Store
from segtricks.pseudo_labels.instances import InstanceWriter
from segtricks.pseudo_labels.pictures import colour


@pytest.fixture
def masks():
    """Two masks of a photograph of 20 x 30 pixels."""
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 2:8, 5:25] = masks[1, 10:14, :6] = True
    return masks


@pytest.fixture
def written(tmp_path, masks):
    """A writer that has written a photograph with two masks, and one without any."""
    paths = [tmp_path / "photos" / name for name in ("a.jpg", "b.jpg")]
    writer = InstanceWriter(tmp_path / "photos", tmp_path / "out", paths)
    photo = torch.full((3, 20, 30), 100, dtype=torch.uint8)
    labels, scores = torch.ones(2, dtype=torch.int64), torch.tensor([0.75, 0.5])
    writer.write(Instances(masks, labels, scores), photo, paths[0])
    writer.write(Instances(masks[:0], labels[:0], scores[:0]), photo, paths[1])
    return writer, paths


def test_entries_hold_all_masks_with_their_scores(written, masks):
    writer, paths = written
    store = Store.open(writer.output)
    entry = store.entry("a")
    assert torch.equal(torch.from_numpy(entry.arrays()), masks)
    assert [(mask.score, mask.class_id) for mask in entry.masks] == [(0.75, None), (0.5, None)]
    assert store.entry("b").masks == () and writer.empty == ["b.jpg"]
    assert all(writer.exists(path) for path in paths)
    writer.file(paths[0], "overlay").unlink()
    assert [writer.exists(path) for path in paths] == [False, True]


def test_the_overlay_shows_each_mask_in_a_colour_of_its_own(written, masks):
    writer, paths = written
    picture = np.asarray(Image.open(writer.file(paths[0], "overlay")).convert("RGB")).astype(float)
    for number, mask in enumerate(masks):
        expected = 0.45 * 100 + 0.55 * colour(number)
        assert np.abs(np.median(picture[mask.numpy()], axis=0) - expected).max() < 25  # JPEG
    assert np.abs(picture[18] - 100).max() < 8


def test_coco_reads_several_masks_a_photograph_with_width_and_height_the_right_way(written, masks, tmp_path):
    writer, paths = written
    content = writer.coco(paths, paths)
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    coco = COCO(tmp_path / "boxes.json")
    images = coco.loadImgs(coco.getImgIds())
    assert [(image["file_name"], image["width"], image["height"]) for image in images] == [
        ("a.jpg", 30, 20),
        ("b.jpg", 30, 20),
    ]
    items = coco.loadAnns(coco.getAnnIds(imgIds=1))
    np.testing.assert_array_equal(np.stack([coco.annToMask(item) for item in items]), masks.numpy())
    assert [(item["bbox"], item["area"], item["score"]) for item in items] == [
        ([5, 2, 20, 6], 120, 0.75),
        ([0, 10, 6, 4], 24, 0.5),
    ]
    assert writer.counts(content) == {"empty": ["b.jpg"], "full": [], "masks": 2}
