import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch.nn.functional import interpolate, normalize

from segtricks.discovery import cluster_prototypes, pool_regions
from segtricks.errors import UserError


@pytest.fixture(scope="module")
def values(golden):
    return np.load(golden / "maskcontrast_kmeans.npz")


def test_prototypes_are_the_published_sums_over_the_foreground(values):
    logits = torch.from_numpy(values["saliency_logits"])
    weights = torch.where(logits > 0.5, logits, 0)
    embeddings = torch.from_numpy(values["embedding"])
    found = [pool_regions(embedding, weight[None])[0] for embedding, weight in zip(embeddings, weights, strict=True)]
    torch.testing.assert_close(torch.stack(found), torch.from_numpy(values["prototypes"]), atol=1e-3, rtol=0)


def test_clusters_are_those_of_the_first_implementation(values):
    prototypes = torch.from_numpy(values["prototypes"])
    for seed, expected in zip(values["seeds"].tolist(), values["clusters"], strict=True):
        found = cluster_prototypes(prototypes, 5, 32, seed, restarts=1)  # as its scikit-learn did
        gram = found.whitened @ found.whitened.mT
        torch.testing.assert_close(gram, torch.from_numpy(values["whitened_gram"]), atol=1e-2, rtol=0)
        assert adjusted_rand_score(expected, found.labels) > 0.9  # versions round differently


def test_whitened_components_have_unit_variance(values):
    whitened = cluster_prototypes(torch.from_numpy(values["prototypes"]), 5).whitened
    assert whitened.shape == (48, 32)
    torch.testing.assert_close(whitened.std(dim=0), torch.ones(32), atol=1e-3, rtol=0)


def test_separate_groups_are_found_with_every_seed():
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(60) % 3
    vectors = 5 * torch.eye(8)[kinds] + 0.1 * torch.randn(60, 8, generator=generator)
    for seed in range(5):
        assert adjusted_rand_score(kinds, cluster_prototypes(vectors, 3, 2, seed).labels) == 1


def test_at_unit_length_only_the_direction_of_whitened_vectors_counts(values):
    prototypes = torch.from_numpy(values["prototypes"])
    plain, unit = (cluster_prototypes(prototypes, 5, 8, unit=unit).whitened for unit in (False, True))
    torch.testing.assert_close(unit, normalize(plain, dim=1), atol=1e-5, rtol=0)


def test_too_few_vectors_are_answered_with_what_is_possible():
    with pytest.raises(UserError, match="at most 6 clusters and 4 components"):
        cluster_prototypes(torch.rand(6, 4), 7, 4)
    with pytest.raises(UserError, match="at most 6 clusters and 4 components"):
        cluster_prototypes(torch.rand(6, 4), 2, 5)


@pytest.mark.parametrize("size", [(21, 34), (7, 9), (5, 6)])
def test_regions_of_any_size_pool_the_enlarged_features(size):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 7, 9, generator=generator)
    weights = torch.rand(4, *size, generator=generator)
    enlarged = interpolate(features[None], size=size, mode="bilinear", align_corners=False)[0]
    expected = normalize(torch.einsum("nhw,dhw->nd", weights, enlarged), dim=1)
    torch.testing.assert_close(pool_regions(features, weights), expected)


def test_an_empty_region_is_the_zero_vector():
    assert torch.equal(pool_regions(torch.rand(3, 4, 4), torch.zeros(2, 8, 8, dtype=torch.bool)), torch.zeros(2, 3))
