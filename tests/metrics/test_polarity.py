import pytest
import torch

from segtricks.errors import UserError
from segtricks.metrics import apply_polarity, border_mean, get_protocol


def framed(inside, border, size=(20, 30)):
    mask = torch.full((1, 1, *size), float(border))
    mask[..., 1:-1, 1:-1] = inside
    return mask


def test_border_mean_is_that_of_the_ring_alone():
    assert border_mean(torch.cat([framed(1, 0), framed(0, 1), framed(0.2, 0.6)])).tolist() == pytest.approx([0, 1, 0.6])


def test_the_ring_is_two_percent_of_the_short_side():
    mask = torch.zeros(1, 1, 100, 200)
    mask[..., 2:-2, 2:-2] = 1
    assert border_mean(mask).item() == 0
    mask[..., 1:-1, 1:-1] = 1
    assert 0.4 < border_mean(mask).item() < 0.5


def test_an_image_that_is_all_border_counts_whole():
    assert border_mean(torch.tensor([[[[0.0, 1.0]]]])).item() == 0.5


def test_large_objects_stay_by_the_border_where_the_mean_inverts_them():
    large = framed(0.9, 0.1)
    assert torch.equal(apply_polarity(large, "border"), large)
    torch.testing.assert_close(apply_polarity(large, "image"), 1 - large)
    torch.testing.assert_close(apply_polarity(1 - large, "border"), large)


def test_polarity_is_decided_per_image_per_batch_or_not_at_all():
    prob = torch.tensor([0.9, 0.2]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
    for polarity, expected in (("image", [0.1, 0.2]), ("batch", [0.1, 0.8]), ("none", [0.9, 0.2])):
        assert apply_polarity(prob, polarity)[:, 0, 0, 0].tolist() == pytest.approx(expected)


def test_the_default_protocol_scores_what_predict_writes():
    assert get_protocol("fullres").polarity == "none"
    assert get_protocol("fullres:polarity=border").polarity == "border"
    with pytest.raises(UserError, match="polarity must be image or border or batch or none"):
        get_protocol("fullres:polarity=left")
