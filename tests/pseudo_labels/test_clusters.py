from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtricks.data import read_labels
from segtricks.pseudo_labels import Entry, encode_mask, write_entry
from segtricks.pseudo_labels.clusters import Clusters, Member, cluster_masks, label_map, write_labelled, write_palette

SIZE = (6, 8)


def _box(top, left, bottom, right):
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def test_smaller_masks_lie_over_larger_ones_whatever_their_order():
    masks = (encode_mask(_box(2, 2, 4, 4), class_id=5), encode_mask(_box(0, 0, 6, 6), class_id=3))
    for ordered in (masks, masks[::-1]):
        labels = label_map(Entry("a", *SIZE, ordered))
        assert (labels[3, 3], labels[0, 0], labels[0, 7]) == (5, 3, 0)


@pytest.mark.parametrize(("highest", "mode"), [(255, "P"), (256, "I;16")])
def test_label_maps_keep_their_ids(tmp_path, highest, mode):
    labels = np.array([[0, 1], [2, highest]])
    write_palette(tmp_path / "a.png", labels)
    assert read_labels(tmp_path / "a.png")[0].tolist() == labels.tolist()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == mode


def test_members_of_a_cluster_come_from_its_middle_to_its_edge():
    angles = np.array([0, 0.1, 0.2, 0.3, 0.4, 1, *[3.5] * 6])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    members = [Member(Path(f"{number}.jpg"), Entry("a", *SIZE), 0) for number in range(12)]
    clusters = cluster_masks(members, vectors, 2, seed=0)
    assert clusters.sizes() == [6, 6]
    assert clusters.of(int(clusters.labels[0]))[-1].photograph.name == "5.jpg"


def test_a_photograph_that_is_gone_is_found_by_its_entry_until_its_label_map_is_removed(tmp_path):
    write_entry(tmp_path, "gone", "gone.jpg", SIZE, [])
    (tmp_path / "labels/gone.png").mkdir(parents=True)  # where a call ends, as if it were killed
    with pytest.raises(OSError):
        write_labelled(tmp_path, Clusters([], np.zeros(0, np.int64), np.zeros(0, np.float32), 0), {}, {})
    assert (tmp_path / "entries/gone.json").is_file()
