import json

import pytest

from segtricks.errors import UserError
from segtricks.pseudo_labels.parts import Share, digest, join_boxes, join_indices, publish, share


def test_processes_within_shards_have_every_item_once():
    parts = [share(f"{shard}/3").split(rank, 2).of(range(20)) for shard in (1, 2, 3) for rank in (0, 1)]
    assert sorted(item for part in parts for item in part) == list(range(20))


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", ""])
def test_what_is_no_part_is_refused(shard):
    with pytest.raises(UserError, match="pass i/n"):
        share(shard)


def test_the_whole_is_written_when_the_last_part_is_there_and_by_both_of_two_that_end_at_once(tmp_path):
    path, work = tmp_path / "index.json", digest(["a", "b", "c"], {"tau": 0.2})
    parts = {1: {"images": 2, "written": ["a", "c"]}, 2: {"images": 1, "written": ["b"]}}
    whole = {"images": 3, "written": ["a", "b", "c"]}
    assert publish(path, Share(2, 2), work, parts[2], join_indices) is None
    assert not path.exists()
    assert publish(path, Share(1, 2), work, parts[1], join_indices) == whole
    assert publish(path, Share(2, 2), work, parts[2], join_indices) == whole
    assert json.loads(path.read_text()) == whole


def test_a_part_of_other_work_is_not_joined(tmp_path):
    path = tmp_path / "index.json"
    publish(path, Share(2, 2), digest("before"), {"written": ["x"]}, join_indices)
    assert publish(path, Share(1, 2), digest("now"), {"written": ["a"]}, join_indices) is None


def test_boxes_are_joined_by_image_and_numbered_anew():
    def part(*ids, classes=(1,)):
        boxes = [{"id": number, "image_id": image} for number, image in enumerate(ids, start=1)]
        categories = [{"id": number} for number in classes]
        return {"images": [{"id": image} for image in ids], "annotations": boxes, "categories": categories}

    joined = join_boxes([part(1, 3, classes=(1, 7)), part(2, 4, classes=(1, 5))])
    assert joined == part(1, 2, 3, 4, classes=(1, 5, 7))
