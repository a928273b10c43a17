import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from segtricks.discovery import deep_spectral, lost, tokencut
from segtricks.errors import UserError
from segtricks.losses import affinity, feature_tv_loss, measure_graph, normalized_cut_loss, share_of, threshold


@pytest.fixture
def features():
    return torch.randn(3, 8, 6, 7, generator=torch.Generator().manual_seed(0))


def cosines(image):
    unit = image.flatten(1).numpy() / np.linalg.norm(image.flatten(1).numpy(), axis=0)
    rows, columns = np.triu_indices(unit.shape[1], 1)
    return (unit.T @ unit)[rows, columns]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.83])
def test_that_share_of_each_images_pairs_lies_above_its_threshold(features, share):
    levels = threshold(normalize(features.flatten(2), dim=1), f"share:{share}")
    assert levels.shape == (3, 1, 1)
    for image, level in zip(features, levels.flatten().tolist(), strict=True):
        assert (cosines(image) > level).mean() == pytest.approx(share, abs=1 / 861)


def test_the_graph_of_a_sample_pools_the_pairs_of_all_images(features):
    graph = measure_graph(list(features), "share:0.3")
    pooled = np.concatenate([cosines(image) for image in features])
    assert graph.tau == pytest.approx(np.quantile(pooled, 0.7), abs=1e-3)
    assert graph.share == pytest.approx((pooled > graph.tau).mean(), abs=1e-6) == pytest.approx(0.3, abs=1e-3)
    assert graph.median == pytest.approx(np.median(pooled), abs=1e-3)
    assert measure_graph(list(features), 0.25).share == pytest.approx((pooled > 0.25).mean(), abs=1e-6)


def test_a_share_is_the_same_as_the_number_it_stands_for(features):
    one = features[:1]
    number = measure_graph([one[0]], "share:0.4").tau
    mask = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(affinity(one, "share:0.4"), affinity(one, number))
    torch.testing.assert_close(normalized_cut_loss(one, mask, "share:0.4"), normalized_cut_loss(one, mask, number))
    torch.testing.assert_close(feature_tv_loss(one, mask, "share:0.4"), feature_tv_loss(one, mask, number))
    for method in (tokencut, lambda f, tau: lost(f, tau=tau), lambda f, tau: deep_spectral(f, tau=tau)):
        assert torch.equal(method(one, "share:0.4").mask, method(one, number).mask)


def test_shares_are_each_images_own_so_that_batches_do_not_matter(features):
    together = tokencut(features, "share:0.5").mask
    assert torch.equal(together, torch.cat([tokencut(image[None], "share:0.5").mask for image in features]))


def test_features_that_are_all_alike_are_cut_by_a_share_and_not_by_a_number():
    """As the keys of DINOv2: every cosine is above 0.4, and the graph of that threshold has nothing to cut."""
    features = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.3
    features[..., 2:4, 2:5] += 0.8
    features += 3
    assert measure_graph([features[0]], 0.4).degenerate
    assert not tokencut(features, 0.4).mask.any() and not lost(features).mask.any()
    expected = torch.zeros(1, 1, 6, 6)
    expected[..., 2:4, 2:5] = 1
    kept = measure_graph([features[0]], "share:0.5")
    assert not kept.degenerate
    for method in (tokencut, lambda f, tau: deep_spectral(f, tau=tau)):
        mask = method(features, "share:0.5").mask
        assert mask.any() and not mask.all()


@pytest.mark.parametrize("method", [tokencut, deep_spectral, lost])
def test_a_photograph_of_one_colour_has_an_empty_mask_by_a_share_too(method):
    flat = torch.ones(1, 8, 5, 5) + 1e-7 * torch.randn(1, 8, 5, 5)
    assert not method(flat, tau="share:0.5").mask.any()


@pytest.mark.parametrize(
    ("tau", "said"),
    [
        ("share:0", "the share lies between 0 and 1"),
        ("share:1.5", "the share lies between 0 and 1"),
        ("share:nan", "the share lies between 0 and 1"),
        ("share:half", "is not a number"),
        ("half", "is not a number"),
        (1.5, "a cosine lies between -1 and 1"),
        (float("nan"), "a cosine lies between -1 and 1"),
    ],
)
def test_what_is_neither_a_cosine_nor_a_share_is_refused_with_what_is_legal(tau, said):
    with pytest.raises(UserError, match=said) as error:
        share_of(tau)
    assert "share:0.5" in str(error.value)


def test_features_that_are_not_finite_are_named():
    with pytest.raises(UserError, match="not finite"):
        measure_graph([torch.full((4, 3, 3), float("nan"))], "share:0.5")


def test_a_graph_says_on_which_side_its_pairs_lie(features):
    assert str(measure_graph(list(features), -0.99)).startswith("100.0% of the pairs of patches are above tau -0.990")
    assert "below tau 0.990" in str(measure_graph(list(features), 0.99))
