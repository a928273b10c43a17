import numpy as np
import pytest
import torch

from segtricks.refine.components import (
    component_of,
    connected_components,
    fill_holes,
    label_components,
    largest_component,
)


def _flood(mask, start):
    """The component of one pixel by a walk from neighbour to neighbour."""
    height, width = mask.shape
    seen, todo = {start}, [start]
    while todo:
        y, x = todo.pop()
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width and mask[v, u] == mask[start] and (v, u) not in seen:
                seen.add((v, u))
                todo.append((v, u))
    return seen


@pytest.mark.parametrize("share", [0.3, 0.55, 0.6, 0.8])
def test_labels_are_the_components_that_a_walk_finds(share):
    mask = torch.rand(2, 1, 23, 31, generator=torch.Generator().manual_seed(0)) < share
    labels = label_components(mask)
    assert torch.equal(labels > 0, mask)
    assert not set(labels[0].unique().tolist()) & set(labels[1].unique().tolist()) - {0}
    for i in range(2):
        for y, x in mask[i, 0].nonzero().tolist():
            same = {tuple(pixel) for pixel in (labels[i, 0] == labels[i, 0, y, x]).nonzero().tolist()}
            assert same == _flood(mask[i, 0], (y, x))


def test_a_spiral_is_one_component():
    size = 41
    mask = torch.zeros(size, size, dtype=torch.bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True
    for length in [size - 1, *(n for n in range(size - 1, 1, -2) for _ in (0, 1))]:
        for _ in range(length):
            y, x = y + dy, x + dx
            mask[y, x] = True
        dy, dx = dx, -dy
    assert len(label_components(mask).unique()) == 2
    assert mask.sum() > 700


def test_largest_component_and_that_of_a_seed():
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 1, 1]]).bool()[None, None].repeat(3, 1, 1, 1)
    mask[2] = False
    largest = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]]).bool()
    assert torch.equal(largest_component(mask)[:, 0], torch.stack([largest, largest, mask[2, 0]]))
    seeded = component_of(mask, torch.tensor([8, 2, 0]))
    assert seeded.flatten(1).nonzero().tolist() == [[0, 8]]  # the second seed lies outside the mask


def test_holes_are_filled_unless_they_reach_the_border():
    mask = torch.tensor([[0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 1, 0, 1, 0]]).bool()
    filled = mask.clone()
    filled[1, 2] = True
    assert torch.equal(fill_holes(mask[None, None])[0, 0], filled)


def test_a_hole_that_leaks_through_a_corner_only_is_a_hole():
    ring = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).bool()
    assert fill_holes(ring[None, None])[0, 0, 1, 1]


def _flooded(mask):
    """Label by walking from pixel to pixel."""
    labels = np.zeros(mask.shape, int)
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        number, stack = labels.max() + 1, [start]
        while stack:
            y, x = stack.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] and not labels[y, x]:
                labels[y, x] = number
                stack += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return labels


@pytest.mark.parametrize("share", [0.1, 0.5, 0.6, 1.0])
def test_equal_flooded_filling_in_number_order_area_and_box(share):
    rng = np.random.default_rng(1)
    for _ in range(15):
        mask = rng.random(rng.integers(1, 25, 2)) < share
        labels, found = _flooded(mask), connected_components(mask)
        assert len(found.area) == len(found.boxes) == labels.max()
        for i in range(len(found.area)):
            y, x = np.nonzero(labels == i + 1)
            assert np.array_equal(found.mask(i), labels == i + 1)
            assert found.area[i] == len(y)
            assert found.boxes[i].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert found.at(y[0], x[0]) == i


def test_corners_do_not_join_and_row_ends_do_not_wrap():
    assert len(connected_components(np.eye(3, dtype=bool)).area) == 3
    assert len(connected_components(np.array([[0, 1], [1, 0]], bool)).area) == 2


def test_spiral_is_one_component_of_a_mask():
    mask = np.zeros((41, 41), bool)
    y, x, dy, dx = 0, 0, 0, 1
    for length in [40, *(n for n in range(40, 0, -2) for _ in range(2))]:
        for _ in range(length):
            mask[y, x] = True
            y, x = y + dy, x + dx
        dy, dx = dx, -dy
    assert len(connected_components(mask).area) == 1 == _flooded(mask).max()


def test_no_foreground_has_no_component():
    found = connected_components(np.zeros((3, 4), bool))
    assert len(found.area) == 0
    assert found.largest() is None
    assert found.at(0, 0) is None
