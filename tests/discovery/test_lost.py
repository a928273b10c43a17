import pytest
import torch

from segtricks.discovery import lost
from segtricks.errors import UserError


def test_equals_the_first_implementation(published):
    ours = lost(published["features"], patch_size=published["patch"])
    assert ours.box[0].tolist() == published["lost_box"].tolist()
    assert ours.seed[0] == published["lost_seed"]


def test_degree_counts_the_other_patches_of_positive_product(published):
    tokens = published["features"].flatten(2)[0].T.double()
    expected = [sum(float(a @ b) > 0 for j, b in enumerate(tokens) if j != i) for i, a in enumerate(tokens[:5])]
    assert lost(published["features"]).degree.flatten()[:5].tolist() == expected


def test_finds_the_smaller_of_two_opposite_regions(two_regions):
    result = lost(two_regions)
    assert result.box.tolist() == [[2, 1, 5, 3]] and result.mask.sum() == 6
    assert result.seed.tolist() == [9]  # row 1, column 2: the first of equal degree


def test_fewer_patches_than_k_all_vote(two_regions):
    assert torch.equal(lost(two_regions, k=10_000).mask, lost(two_regions, k=42).mask)


def test_broken_images_get_an_empty_mask_and_leave_the_others_alone(with_broken):
    result, alone = lost(with_broken), lost(with_broken[-1:])
    assert result.mask.flatten(1).sum(1).tolist() == [0, 0, 0, 0, 6]
    assert result.seed[:4].tolist() == [-1] * 4 and not result.box[:4].any()
    assert torch.equal(result.mask[-1:], alone.mask)


def test_one_patch_has_no_object():
    assert not lost(torch.randn(1, 4, 1, 1)).mask.any()


def test_k_below_one_is_refused():
    with pytest.raises(UserError, match="k must be at least 1, got 0"):
        lost(torch.zeros(1, 4, 3, 3), k=0)
