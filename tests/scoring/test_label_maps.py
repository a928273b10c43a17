import numpy as np
import pytest
import torch
from torchvision.transforms import CenterCrop, InterpolationMode, Resize
from torchvision.transforms.functional import to_pil_image

from segtricks.errors import UserError
from segtricks.metrics.measures import MEASURES
from segtricks.scoring.evaluator import Target
from segtricks.scoring.label_maps import LabelMapEvaluator, LabelMapProtocol, Segmented


@pytest.fixture
def published(golden):
    return {name: torch.from_numpy(array) for name, array in np.load(golden / "u2seg_matching.npz").items()}


def _metrics(pred, target, num_clusters, num_classes, classes=None):
    evaluator = LabelMapEvaluator("set", LabelMapProtocol(num_classes), num_clusters)
    target = torch.where(target < 0, 255, target.long())
    for place, (clusters, labels) in enumerate(zip(pred.long(), target, strict=True)):
        probed = None if classes is None else classes[place]
        evaluator.add(Target(str(place), labels=labels[None]), {"mask": Segmented(clusters, probed)})
    return evaluator.result().rows["mask"].metrics


def test_published_figures_equal_the_first_implementation(published):
    classes = published["stego_stats"].shape[1]
    found = _metrics(published["stego_pred"], published["stego_target"], classes, classes)
    assert found["cluster_miou_published"] == pytest.approx(
        float(published["stego_miou"]) / _scale(published), abs=1e-6
    )
    assert found["cluster_accuracy_published"] == pytest.approx(
        float(published["stego_accuracy"]) / _scale(published), abs=1e-6
    )
    assert found["cluster_accuracy"] == found["cluster_accuracy_published"]  # no clusters beyond the classes


def _scale(published):
    return 100 if float(published["stego_accuracy"]) > 1 else 1


def test_pixels_of_clusters_beyond_the_classes_are_dropped_as_published_and_wrong_by_default():
    target = torch.tensor([[[0, 0, 1, 1]]])
    pred = torch.tensor([[[0, 2, 1, 1]]])  # the third cluster is one too many
    found = _metrics(pred, target, 3, 2)
    assert found["cluster_accuracy_published"] == found["cluster_miou_published"] == 1
    assert found["cluster_accuracy"] == 0.75
    assert found["cluster_miou"] == (0.5 + 1) / 2
    assert set(found) <= set(MEASURES)


def test_published_mean_counts_a_class_that_is_only_predicted():
    target, pred = torch.tensor([[[0, 0, 0, 1]]]), torch.tensor([[[0, 0, 2, 1]]])
    found = _metrics(pred, target, 3, 3)
    assert found["cluster_miou"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["cluster_miou_published"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_a_probe_is_scored_without_matching():
    target = torch.tensor([[[0, 0, 1, 255]]])
    found = _metrics(1 - target.clamp_max(1), target, 2, 2, classes=target.clamp_max(1))
    assert found["linear_miou"] == found["linear_miou_present"] == found["cluster_miou"] == 1


def test_a_class_beyond_those_of_the_protocol_names_photograph_and_option():
    with pytest.raises(UserError, match=r"(?s)label map of 0 .*num_classes 6"):
        _metrics(torch.zeros(1, 2, 2), torch.full((1, 2, 2), 5), 3, 3)
    with pytest.raises(UserError, match="at least 1"):
        LabelMapProtocol(0)


@pytest.mark.parametrize("size", [(37, 61), (61, 40)])
def test_crop_equals_the_published_transform(size):
    pixels = torch.randint(256, (3, *size), dtype=torch.uint8)
    expected = CenterCrop(32)(Resize(32, InterpolationMode.NEAREST)(to_pil_image(pixels)))
    found = LabelMapProtocol(crop=32).cut(pixels)
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), np.asarray(expected))


def test_the_three_ways_to_find_the_classes_of_clusters_differ():
    """By hand: cluster 2 is the class 0 where 0 is as well; on the other images 0 and 1 change places."""
    evaluator = LabelMapEvaluator("set", LabelMapProtocol(2), 3, mapping_set="others")
    scored = [([[0, 1]], [[0, 1]]), ([[0, 0]], [[2, 2]])]
    for place, (labels, clusters) in enumerate(scored):
        prediction = Segmented(torch.tensor(clusters))
        evaluator.add(Target(str(place), labels=torch.tensor([labels])), {"mask": prediction})
    assert "cluster_miou_train" not in evaluator.result().rows["mask"].metrics
    other = Target("other", labels=torch.tensor([[[1, 0, 255]]]))
    evaluator.add_to_mapping(other, {"mask": Segmented(torch.tensor([[0, 2, 1]]))})
    result = evaluator.result()
    found = result.rows["mask"].metrics
    assert found["cluster_miou"] == pytest.approx(5 / 6)
    assert found["cluster_miou_majority"] == 1
    assert found["cluster_miou_train"] == pytest.approx(1 / 3)
    assert found["cluster_accuracy_train"] == 0.5
    assert set(found) <= set(MEASURES)
    assert result.images == 2
    assert result.protocol.as_dict()["mapping_set"] == "others"


def test_named_classes_decide_their_number():
    assert LabelMapProtocol(21, 320).of_classes(["road", "sky"]) == LabelMapProtocol(2, 320)
    assert LabelMapProtocol(21).of_classes(()) == LabelMapProtocol(21)
