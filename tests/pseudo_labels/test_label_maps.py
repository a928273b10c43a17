from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.data.label_entry import read_entry
from segtricks.errors import UserError
from segtricks.pseudo_labels.label_maps import LabelWriter
from segtricks.pseudo_labels.pictures import colour, painted, painted_labels


def test_maps_are_kept_as_they_are_and_those_of_a_single_cluster_are_listed(tmp_path):
    photos = [Path("photos/one.png"), Path("photos/two.png")]
    writer = LabelWriter(Path("photos"), tmp_path, photos)
    maps = [torch.randint(27, (6, 8), dtype=torch.uint8), torch.full((6, 8), 300, dtype=torch.int32)]
    for path, labels in zip(photos, maps, strict=True):
        writer.write(labels, torch.zeros(3, 6, 8, dtype=torch.uint8), path)
        entry = read_entry(tmp_path, path.stem)
        np.testing.assert_array_equal(entry.read_labels(), labels.numpy())
        assert entry.masks == () and writer.exists(path)
    index = writer.index(0)
    assert index["full"] == ["two.png"] and index["masks"] == 0
    assert writer.summary(index) == "1 photographs of a single cluster"
    later = LabelWriter(Path("photos"), tmp_path, photos)
    later.recall(photos)
    assert later.index(2)["full"] == ["two.png"]
    with pytest.raises(UserError, match="without --boxes"):
        writer.coco(photos, photos)


def test_painted_labels_equal_one_painted_mask_a_label():
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=(12, 9))
    photo = Image.fromarray(rng.integers(256, size=(12, 9, 3), dtype=np.uint8))
    masks = np.stack([labels == number for number in range(5)])
    found, expected = (
        np.asarray(each).astype(int) for each in (painted_labels(photo, labels), painted(photo, masks, range(5)))
    )
    assert abs(found - expected).max() <= 1
    assert colour(0).any()  # the first cluster is not black
