import numpy as np
import pytest
import torch
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from segtricks.discovery import spectral_affinity, spectral_clusters, vote_mask
from segtricks.errors import UserError


@pytest.fixture
def published(golden):
    arrays = dict(np.load(golden / "selfmask_clustering.npz"))
    return arrays | {"features": torch.from_numpy(arrays["features"])}


def test_affinity_equals_the_first_implementation(published):
    affinity = spectral_affinity(torch.from_numpy(published["upsampled"]))
    np.testing.assert_allclose(affinity[0], published["affinity"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_clusters_equal_the_first_implementation_but_for_their_numbers(published, k):
    labels = spectral_clusters(published["features"], k)
    assert labels.shape == (1, 16, 12) and labels.dtype == torch.int64
    assert adjusted_rand_score(labels.flatten(), published[f"labels_{k}"].ravel()) == 1


def test_candidates_win_the_vote_as_in_the_first_implementation(published):
    height, width = published["image_size"]
    candidates = []
    for k in (2, 3, 4):
        labels = spectral_clusters(published["features"], k)[0].repeat_interleave(8, 0).repeat_interleave(8, 1)
        candidates += [labels[:height, :width] == number for number in range(k)]
    assert np.array_equal(vote_mask(torch.stack(candidates)).mask, published["voted_mask"] > 0)


def test_clusters_are_those_of_scikit_learn(two_regions):
    labels = spectral_clusters(two_regions, 2, upsample=1)
    affinity = spectral_affinity(two_regions)[0].double().numpy()
    expected = SpectralClustering(2, affinity="precomputed", random_state=0).fit_predict(affinity)
    assert adjusted_rand_score(labels.flatten(), expected) == 1


def test_the_same_seed_gives_the_same_clusters():
    features = torch.randn(1, 8, 6, 7)
    assert torch.equal(spectral_clusters(features, 4, seed=3), spectral_clusters(features, 4, seed=3))


def test_broken_and_uniform_images_are_one_cluster_and_leave_the_others_alone(with_broken, two_regions):
    labels = spectral_clusters(with_broken, 2)
    assert not labels[:4].any()
    assert torch.equal(labels[4:], spectral_clusters(two_regions, 2))


def test_fewer_nodes_than_clusters_are_each_their_own():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]]).T.reshape(1, 2, 1, 3)
    assert spectral_clusters(features, 4, upsample=1).unique().tolist() == [0, 1, 2]


def test_impossible_numbers_are_refused():
    with pytest.raises(UserError, match="at least 1, got 0 and 2"):
        spectral_clusters(torch.randn(1, 2, 3, 3), 0)


def test_no_images_have_no_clusters():
    assert spectral_clusters(torch.zeros(0, 8, 3, 4), 2).shape == (0, 6, 8)
