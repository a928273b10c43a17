import numpy as np
import pytest
import torch

from segtricks.discovery import vote_mask
from segtricks.errors import UserError


@pytest.mark.parametrize("suffix", ["", "_sized"])
@pytest.mark.parametrize("case", [0, 1, 2])
def test_votes_equal_the_first_implementation(golden, case, suffix):
    arrays = np.load(golden / "selfmask_voting.npz")
    candidates = torch.from_numpy(arrays[f"candidates_{case}"])
    mask, index, votes, kept = vote_mask(candidates, drop_sizes=bool(suffix))
    assert kept.tolist() == arrays[f"kept_{case}{suffix}"].tolist()
    np.testing.assert_allclose(votes, arrays[f"votes_{case}{suffix}"], rtol=0, atol=1e-3)
    assert index == arrays[f"voted_index_{case}{suffix}"]
    assert np.array_equal(mask, arrays[f"voted_mask_{case}{suffix}"] > 0)


def test_without_the_framing_prior_a_mask_of_everything_may_win():
    inside = torch.zeros(4, 6, 6)
    inside[0, 2:4, 2:4] = 1
    inside[1:] = 1
    assert vote_mask(inside).index == 0
    assert vote_mask(inside, drop_spanning=False).index == 1


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4)])
def test_no_candidates_are_refused(shape):
    with pytest.raises(UserError, match="n of at least 1"):
        vote_mask(torch.zeros(shape))
