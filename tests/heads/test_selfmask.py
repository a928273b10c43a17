import numpy as np
import pytest
import torch

from segtricks.heads import SelfMaskHead, select_query


def test_selected_masks_equal_the_first_implementation(golden):
    arrays = np.load(golden / "selfmask_inference.npz")
    masks, objectness = (torch.from_numpy(arrays[name])[:, -1] for name in ("masks", "objectness"))
    assert objectness.argmax(1).tolist() == arrays["selected_query"].tolist()
    selected = select_query(masks, objectness, size=(45, 61))
    np.testing.assert_allclose(selected[:, 0], arrays["prediction"], rtol=0, atol=1e-5)


def test_without_a_size_the_padding_stays():
    assert select_query(torch.rand(2, 3, 4, 5), torch.rand(2, 3), scale=7).shape == (2, 1, 28, 35)


def test_head_has_the_published_number_of_parameters():
    assert sum(parameter.numel() for parameter in SelfMaskHead().parameters()) == 36_174_337 - 21_670_272


def test_layers_start_alike():
    first, *others = SelfMaskHead(16, 3, 3, 2).layers
    for layer in others:
        torch.testing.assert_close(layer.state_dict(), first.state_dict(), rtol=0, atol=0)


def test_a_query_does_not_depend_on_where_patches_lie():
    head = SelfMaskHead(16, 3, 2, 2, upsample=1).eval()
    features = torch.randn(1, 16, 4, 5)
    masks, objectness = head(features)
    flipped = head(features.flip(-1))
    torch.testing.assert_close(flipped.masks.flip(-1), masks, rtol=0, atol=1e-4)
    torch.testing.assert_close(flipped.objectness, objectness, rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{"num_heads": 5}, {"num_queries": 0}])
def test_impossible_sizes_are_refused(options):
    with pytest.raises(ValueError, match="num_"):
        SelfMaskHead(16, **{"num_heads": 2, **options})


def test_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 16, h, w\), got \(1, 8, 2, 2\)"):
        SelfMaskHead(16, num_heads=2)(torch.zeros(1, 8, 2, 2))
