"""Maps of stuff by k-means, and all pseudo-labels together on drawn scenes, whose truth is exact."""

import pytest
import torch
from torch.nn.functional import interpolate

from segtricks.backbones import create_backbone
from segtricks.data.datasets.scenes import DrawnScenes
from segtricks.data.sample import Instances
from segtricks.data.transforms import to_input
from segtricks.discovery import maskcut, pool_regions
from segtricks.errors import UserError
from segtricks.pseudo_labels import cluster_stuff, kmeans, merge_panoptic, select_masks
from segtricks.pseudo_labels.merge import PanopticPrediction
from segtricks.refine import BILATERAL_PRESETS
from segtricks.scoring.evaluator import Target
from segtricks.scoring.panoptic import PanopticEvaluator

THINGS, STUFF, TRIES = 6, 5, 10


def test_maps_are_of_the_nearest_cluster_at_the_photographs_size():
    features = torch.zeros(2, 4, 4)
    features[0, :, :2] = features[1, :, 2:] = 3
    (found,) = cluster_stuff([features], [(8, 12)], 2)
    assert found.shape == (8, 12)
    assert (found[:, :6] == found[0, 0]).all()
    assert (found[:, 6:] == 1 - found[0, 0]).all()


def test_more_clusters_than_patches_are_refused():
    with pytest.raises(UserError, match="5 clusters"):
        cluster_stuff([torch.randn(2, 2, 2)], [(4, 4)], 5)


def _masks(photo, cuts):
    before = interpolate(cuts[cuts.flatten(1).any(dim=1), None], photo.shape[1:], mode="nearest-exact") > 0.5
    pictures = (photo / 255).expand(len(before), -1, -1, -1)
    refined = BILATERAL_PRESETS["two-tricks"](before.float(), pictures) > 0.5
    masks = select_masks(before[:, 0], refined[:, 0])
    return masks[masks.flatten(1).any(dim=1)]


def test_pseudo_labels_of_drawn_scenes_have_a_panoptic_quality_of_three_fifths():
    scenes = DrawnScenes(96)
    photos = [scenes.read_image(index) for index in range(len(scenes))]
    with torch.no_grad():
        features = create_backbone("descriptor")(to_input(torch.stack(photos)))
    cuts = maskcut(features, 0.4).masks
    masks = [_masks(photo, each) for photo, each in zip(photos, cuts, strict=True)]
    vectors = [pool_regions(*each) for each in zip(features, masks, strict=True)]
    labels = kmeans(torch.cat(vectors), THINGS, tries=TRIES).labels + 1
    stuff = cluster_stuff(list(features), [(128, 128)] * len(scenes), STUFF, tries=TRIES)

    evaluator = PanopticEvaluator("scenes", THINGS, STUFF)
    classes = labels.split([len(each) for each in masks])
    for index in range(48, len(scenes)):
        panoptic = merge_panoptic(masks[index], classes[index], stuff[index], num_things=THINGS)
        found = Instances(masks[index], classes[index], torch.ones(len(masks[index])))
        prediction = PanopticPrediction(found, panoptic, THINGS)
        evaluator.add(Target(str(index), panoptic=scenes.read_panoptic(index)), {"mask": prediction})
    rows = evaluator.result().rows
    figures = rows["mask"].metrics
    assert figures["pq"] >= 0.6
    assert figures["mask_ap50"] > 2 * max(rows[row].metrics["mask_ap50"] for row in list(rows)[1:])
