import torch

from segtricks.discovery import deep_spectral, inputs, lost, mask_boxes, tokencut


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
