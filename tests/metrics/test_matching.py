import numpy as np
import pytest
import torch

from segtricks.metrics import match_clusters
from segtricks.metrics.matching import overlaps


@pytest.mark.parametrize("how", ["hungarian", "majority"])
def test_equals_the_first_implementation_where_cluster_and_class_overlap(golden, how):
    values = np.load(golden / "maskcontrast_matching.npz")
    confusion = torch.from_numpy(values[f"confusion_{how}"])
    table = torch.from_numpy(values[f"iou_table_{how}"])
    torch.testing.assert_close(overlaps(confusion), table, atol=1e-5, rtol=0)
    expected = torch.from_numpy(values[f"mapping_{how}"])
    decided = table[torch.arange(len(table)), expected] > 0
    assert torch.equal(match_clusters(confusion, how)[decided], expected[decided])


def test_counts_and_votes_equal_the_first_implementations(golden):
    values = np.load(golden / "u2seg_matching.npz")
    stego = match_clusters(torch.from_numpy(values["stego_stats"]), by="count")
    assert stego.tolist() == values["stego_mapping"].tolist()
    votes = torch.from_numpy(values["inst_votes"])
    assert match_clusters(votes, "majority", "count").tolist() == values["inst_majority"].tolist()
    # Where sums tie, another solver may choose other clusters.
    found, expected = match_clusters(votes, by="count"), torch.from_numpy(values["inst_hungarian"])
    assert _sum(votes, found) == _sum(votes, expected)
    assert (found == -1).sum() == (expected == -1).sum()


def _sum(votes, mapping):
    matched = mapping >= 0
    return int(votes[matched, mapping[matched]].sum())


def test_iou_and_count_prefer_different_clusters():
    confusion = torch.tensor([[60, 0], [50, 40]])  # the second cluster shares more of class 1, the first is purer
    assert match_clusters(confusion, "majority", "iou").tolist() == [0, 1]
    assert match_clusters(confusion, "majority", "count").tolist() == [0, 0]


def test_left_over_and_empty_clusters_have_no_class():
    confusion = torch.tensor([[5, 0], [0, 0], [1, 0], [0, 7]])
    assert match_clusters(confusion).tolist() == [0, -1, -1, 1]
    assert match_clusters(confusion, "majority").tolist() == [0, -1, 0, 1]


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="allowed"):
        match_clusters(torch.ones(2, 2), "best")


@pytest.mark.parametrize("how", ["hungarian", "majority"])
def test_without_a_class_no_cluster_has_one(how):
    assert match_clusters(torch.zeros(3, 0, dtype=torch.int64), how).tolist() == [-1] * 3
