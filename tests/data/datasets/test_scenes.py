"""Drawn scenes: their truth is exact, and does not depend on what was drawn before."""

import pytest
import torch

from segtricks.data.datasets.registry import open_dataset
from segtricks.data.datasets.scenes import DrawnScenes
from segtricks.errors import UserError


def test_every_pixel_is_a_shape_or_one_of_two_kinds_of_stuff():
    scenes = DrawnScenes(20)
    kinds = set()
    for index in range(len(scenes)):
        instances, semantic, _ = scenes.read_panoptic(index)
        assert torch.equal(instances.masks.any(dim=0), semantic[0] == 0)
        assert instances.masks.sum(dim=0).max() == 1
        assert 1 <= len(instances.labels) <= 3
        assert len(semantic[semantic > 0].unique()) <= 2
        kinds.update(instances.labels.tolist())
        assert torch.equal(scenes.read_mask(index)[0] > 0, semantic[0] == 0)
    assert kinds == {1, 2, 3}


def test_a_scene_is_a_function_of_seed_and_number():
    scene = open_dataset("scenes[160:208]").with_targets("panoptic")[3]
    assert torch.equal(scene["image"], DrawnScenes(200).read_image(163))
    assert not torch.equal(scene["image"], DrawnScenes(200, seed=1).read_image(163))
    assert len(open_dataset("scenes[:300]")) == 300


def test_impossible_scenes_are_refused():
    with pytest.raises(UserError, match="size at least 16"):
        DrawnScenes(size=8)
