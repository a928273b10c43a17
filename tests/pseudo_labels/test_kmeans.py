import numpy as np
import pytest
import torch

from segtricks.errors import UserError
from segtricks.pseudo_labels import kmeans


@pytest.mark.parametrize("iterations", [1, 15])
def test_labels_and_centroids_equal_the_first_implementation(golden, iterations):
    arrays = np.load(golden / "u2seg_kmeans.npz")
    start = torch.from_numpy(arrays["start"])
    ours = kmeans(torch.from_numpy(arrays["features"]), 12, iterations=iterations, start=start)
    np.testing.assert_array_equal(ours.labels.numpy(), arrays[f"labels_{iterations}"])
    np.testing.assert_allclose(ours.centroids.numpy(), arrays[f"centroids_{iterations}"], atol=1e-4)


def test_starts_at_the_first_of_a_seeded_permutation():
    features = torch.randn(50, 3)
    torch.manual_seed(7)
    start = torch.randperm(50)[:6]
    ours, expected = kmeans(features, 6, seed=7), kmeans(features, 6, start=start)
    assert torch.equal(ours.labels, expected.labels) and torch.equal(ours.centroids, expected.centroids)


def test_a_cluster_that_runs_empty_keeps_its_centroid_and_never_wins_every_feature():
    features = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    ours = kmeans(features, 3, start=[0, 0, 2], iterations=1)  # of equal centroids the first takes all
    assert ours.labels.tolist() == [0, 0, 2, 2]
    torch.testing.assert_close(ours.centroids, torch.tensor([[0.05], [0.0], [5.05]]))
    assert kmeans(features, 3, start=[0, 0, 2]).labels.tolist() == [1, 0, 2, 2]


def test_more_clusters_than_features_are_refused():
    with pytest.raises(UserError, match="pass fewer clusters"):
        kmeans(torch.randn(3, 2), 4)
    with pytest.raises(UserError, match="nan or infinity"):
        kmeans(torch.full((3, 2), torch.nan), 2)


def test_a_large_offset_does_not_hide_the_distances():
    generator = torch.Generator().manual_seed(0)
    features = (16 * torch.randn(200, 8, generator=generator)).round() / 16  # exact, with the offset too
    expected = kmeans(features, 4).labels
    assert kmeans(features + 10_000, 4).labels.equal(expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert kmeans(features, 4).labels.equal(expected)


@pytest.mark.parametrize("start", [[0], [0, 9], [0, -1], [[0, 1]]])
def test_a_start_that_is_no_k_features_is_refused(start):
    with pytest.raises(UserError, match="start must be 2 numbers of features, from 0 to 4"):
        kmeans(torch.randn(5, 3), 2, start=start)


def test_more_tries_keep_the_nearest_clusters():
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0], [0, 9], [9, 0], [9, 9], [20, 20]])
    features = centres.repeat_interleave(40, dim=0) + 0.1 * torch.randn(200, 2)
    single = [kmeans(features, 5, seed=seed) for seed in range(6)]
    spreads = [(features - found.centroids[found.labels]).square().sum() for found in single]
    best = single[int(torch.stack(spreads).argmin())]
    found = kmeans(features, 5, tries=6)
    assert torch.equal(found.labels, best.labels)
    assert max(spreads) > 10 * min(spreads)
