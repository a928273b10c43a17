import pytest
import torch

from segtricks.refine.components import component_of, fill_holes, label_components, largest_component


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
