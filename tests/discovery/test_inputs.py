import pytest
import torch

from segtricks.discovery import deep_spectral, found_background, inputs, lost, mask_boxes, tokencut


def found(features):
    """With an attention that is the same for every image: to the columns 5 to 9, by one of two heads."""
    attention = torch.full((len(features), 2, *features.shape[2:]), 0.001)
    attention[:, 0, 4:9, 5:10] = 0.01
    return found_background(features, attention.flatten(2))


def test_boxes_are_half_open_and_zero_for_an_empty_mask():
    masks = torch.zeros(4, 1, 5, 6)
    masks[0, 0, 2, 3] = 1
    masks[1, 0, 0, 1] = masks[1, 0, 4, 5] = 1
    masks[2] = 1
    expected = [[3, 2, 4, 3], [1, 0, 6, 5], [0, 0, 6, 5], [0, 0, 0, 0]]
    assert mask_boxes(masks).tolist() == expected
    assert mask_boxes(masks, 8).tolist() == [[8 * side for side in box] for box in expected]


def test_large_batches_in_parts_equal_the_whole(monkeypatch):
    features = torch.randn(5, 8, 6, 7)
    for method in (tokencut, lost, deep_spectral):
        whole = method(features)
        monkeypatch.setattr(inputs, "_ENTRIES_ON_CPU", 2 * 42**2)
        for part, expected in zip(method(features), whole, strict=True):
            torch.testing.assert_close(part, expected)
        monkeypatch.undo()


@pytest.mark.parametrize("method", [tokencut, lost, deep_spectral, found])
@pytest.mark.parametrize("grid", [(9, 11), (16, 18)])  # below and above the size from which cuts are iterated
def test_images_beside_bad_ones_are_what_they_are_alone(method, grid):
    noise = torch.randn(2, 8, *grid, generator=torch.Generator().manual_seed(0))
    good = 0.3 * noise + 1
    good[:, :, 4:9, 5:10] -= 2
    flat, nan, infinite = torch.ones_like(good[:1]), good[:1].clone(), good[:1].clone()
    nan[0, 0, 0, 0], infinite[0, 1, 2, 3] = float("nan"), float("inf")
    block = 1 + 0.01 * noise[:1]  # every patch like every other, but not equal
    together = method(torch.cat([nan, good[:1], flat, 0 * flat, block, good[1:], infinite]))
    for place, alone in ((1, method(good[:1])), (5, method(good[1:]))):
        assert 0 < alone.mask.sum() < alone.mask.numel() / 2
        for part, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(part[place : place + 1], expected, rtol=0, atol=1e-6)
    for place in (0, 2, 3, 6):
        assert not together.mask[place].any() and not together.box[place].any()
