"""Copy-paste against a loop over pixels, and what it draws."""

import numpy as np
import pytest
import torch

from segtricks.data.copy_paste import Paste, apply_paste, copy_paste, draw_paste
from segtricks.data.sample import Instances, Panoptic

SIDE = 8


def _target(semantic, *boxes, label=1):
    masks = torch.zeros(len(boxes), SIDE, SIDE, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    count = len(boxes)
    labels = torch.arange(label, label + count)
    return Panoptic(Instances(masks, labels, torch.ones(count)), torch.full((1, SIDE, SIDE), semantic))


def _by_pixels(paste, image, target, donor, objects):
    """The same by a loop over the pixels, for a donor of half the size."""
    image, semantic = image.numpy().copy(), target.semantic.numpy().copy()
    below = [mask.copy() for mask in target.instances.masks.numpy()]
    above = []
    for number in paste.objects.tolist():
        mask = np.zeros((SIDE, SIDE), bool)
        for row in range(paste.size[0]):
            for column in range(paste.size[1]):
                # The middle of a half-size pixel lies on the corner of four; the one at its lower right is taken.
                mask[paste.top + row, paste.left + column] = objects.masks[number, 2 * row + 1, 2 * column + 1]
        above.append(mask)
    for row, column in np.argwhere(np.any(above, axis=0)):
        image[:, row, column] = _color(donor)
        semantic[0, row, column] = 0
        for mask in below:
            mask[row, column] = False
    labels = [*target.instances.labels.tolist(), *objects.labels[paste.objects].tolist()]
    kept = [(mask, label) for mask, label in zip([*below, *above], labels, strict=True) if mask.any()]
    return image, semantic, kept


def _color(donor):
    return donor[:, 0, 0].numpy()


@pytest.mark.parametrize("objects", [[0], [1, 0], [1]])
def test_pixels_masks_labels_and_stuff_are_those_of_a_loop_over_pixels(objects):
    image, donor = torch.rand(3, SIDE, SIDE), torch.rand(3, 1, 1).expand(3, SIDE, SIDE).contiguous()
    target = _target(3, (0, 0, 4, 4), (3, 2, 5, 4))
    given = _target(2, (0, 0, 4, 4), (4, 2, 8, 8), label=7)
    paste = Paste(1, torch.tensor(objects), (4, 4), top=2, left=3)
    found, panoptic = apply_paste(paste, image, target, donor, given.instances)
    pixels, semantic, kept = _by_pixels(paste, image, target, donor, given.instances)
    np.testing.assert_allclose(found.numpy(), pixels, atol=1e-6)
    np.testing.assert_array_equal(panoptic.semantic.numpy(), semantic)
    assert panoptic.instances.labels.tolist() == [label for _, label in kept]
    np.testing.assert_array_equal(panoptic.instances.masks.numpy(), [mask for mask, _ in kept])
    if objects != [1]:
        assert 2 not in panoptic.instances.labels, "the square that the paste hides as a whole is gone"


def test_photographs_get_objects_of_others_that_lie_within_and_are_smaller():
    torch.manual_seed(0)
    targets = [_target(1, (0, 0, 8, 4), (0, 4, 8, 8)), _target(2), _target(3, (2, 2, 6, 6), label=5)]
    drawn = [draw_paste(place, targets, 1.0) for _ in range(200) for place in range(3)]
    pastes = [(number % 3, paste) for number, paste in enumerate(drawn) if paste is not None]
    assert all(paste.donor not in (1, place) for place, paste in pastes), "itself, or one without an object"
    assert {len(paste.objects) for _, paste in pastes if paste.donor == 0} == {1, 2}
    sizes = [paste.size[0] for _, paste in pastes]
    assert min(sizes) == 2 and max(sizes) == 8
    assert all(paste.top + paste.size[0] <= SIDE and paste.left + paste.size[1] <= SIDE for _, paste in pastes)


def test_a_share_of_the_photographs_is_changed_and_what_is_given_stays_as_it_is():
    torch.manual_seed(0)
    images = torch.rand(2, 3, SIDE, SIDE)
    targets = [_target(1, (0, 0, 8, 8)), _target(2, (0, 0, 8, 8))]
    before = images.clone()
    changed = [int((copy_paste(images, targets, 0.3)[0] != images).any()) for _ in range(200)]
    assert torch.equal(images, before) and targets[0].instances.masks.all()
    assert sum(changed) / 200 == pytest.approx(1 - 0.7**2, abs=0.1)
    assert torch.equal(copy_paste(images, targets, 0)[0], images)
    assert torch.equal(copy_paste(images[:1], targets[:1])[0], images[:1]), "there is no other photograph"
