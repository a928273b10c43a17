"""Scores of instances and panoptic maps: perfect, relabelled and empty predictions, mappings and floors."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from segtricks.data.datasets.scenes import DrawnScenes
from segtricks.data.sample import Instances, Panoptic
from segtricks.errors import UserError
from segtricks.pseudo_labels.merge import PanopticPrediction, merge_panoptic
from segtricks.scoring.classed import ClassedEvaluator
from segtricks.scoring.evaluator import Target
from segtricks.scoring.object_floors import object_floors
from segtricks.scoring.panoptic import PanopticEvaluator
from segtricks.scoring.panoptic_protocol import get_panoptic_protocol

SCENES = DrawnScenes(8, 64)


def _scores(change, protocol="strict", indices=range(6), kind=PanopticEvaluator):
    evaluator = kind("scenes", 6, 6, get_panoptic_protocol(protocol))
    for index in indices:
        truth = SCENES.read_panoptic(index)
        evaluator.add(Target(str(index), panoptic=truth), {"mask": change(truth, index)})
    return evaluator.result().rows


def _renamed(truth, things, stuff):
    """The truth with other classes: ``things`` and ``stuff`` map them."""
    labels = torch.tensor(things)[truth.instances.labels - 1]
    return _predicted(truth.instances._replace(labels=labels), torch.tensor([0, *stuff])[truth.semantic])


def _predicted(instances, semantic):
    panoptic = merge_panoptic(instances.masks, instances.labels, semantic[0] - 1, num_things=6, max_covered=1)
    return PanopticPrediction(instances, panoptic, 6)


@pytest.mark.parametrize("protocol", ["strict", "u2seg"])
def test_perfect_predictions_of_other_names_score_one(protocol):
    rows = _scores(lambda truth, _: _renamed(truth, [5, 2, 6], [4, 6, 1]), protocol)
    figures = rows["mask"].metrics
    assert figures["pq"] == figures["pq_things"] == figures["pq_stuff"] == 1
    assert figures["box_ap"] == figures["mask_ap"] == pytest.approx(1)
    assert rows["mask"].per_class["pq"] == [1] * 6
    assert rows["mask"].details["0"]["objects"] == len(SCENES.read_instances(0).labels)


def test_two_clusters_of_one_class_are_wrong_in_the_strict_mapping_alone():
    def split(truth, index):
        return _renamed(truth, [1, 2, 3], [1, 2, 3] if index % 2 else [4, 5, 6])

    assert _scores(split, "u2seg")["mask"].metrics["pq_stuff"] == 1
    assert _scores(split, "strict")["mask"].metrics["pq_stuff"] < 0.8


def test_predictions_of_nothing_score_zero():
    def nothing(truth, _):
        size = truth.semantic.shape[1:]
        empty = Instances(torch.zeros(0, *size, dtype=torch.bool), torch.zeros(0).long(), torch.zeros(0))
        return _predicted(empty, torch.zeros(1, *size, dtype=torch.int64))

    for protocol in ("strict", "u2seg"):
        figures = _scores(nothing, protocol)["mask"].metrics
        assert figures["pq"] == figures["box_ap50"] == figures["mask_ar100"] == 0


def test_truth_without_stuff_has_no_panoptic_quality():
    evaluator = PanopticEvaluator("photographs", 6, 6)
    truth = SCENES.read_panoptic(0)
    truth = Panoptic(truth.instances, torch.full_like(truth.semantic, 255))
    evaluator.add(Target("0", panoptic=truth), {"mask": _predicted(truth.instances, truth.semantic * 0)})
    figures = evaluator.result().rows["mask"].metrics
    assert figures["mask_ap50"] == pytest.approx(1)
    assert "pq" not in figures


def test_crowds_are_no_misses_and_stated_boxes_count():
    evaluator = PanopticEvaluator("photographs", 6, 6)
    masks = torch.zeros(2, 40, 40, dtype=torch.bool)
    masks[0, :10, :10] = masks[1, 20:, 20:] = True
    boxes = torch.tensor([[0.0, 0, 20, 10], [20, 20, 40, 40]])
    ones = torch.ones(2)
    void = torch.full((1, 40, 40), 255)
    truth = Panoptic(Instances(masks, ones.long(), ones, torch.tensor([False, True]), boxes), void)
    prediction = _predicted(Instances(masks[:1], ones[:1].long(), ones[:1]), void * 0)
    evaluator.add(Target("0", panoptic=truth), {"mask": prediction})
    figures = evaluator.result().rows["mask"].metrics
    assert figures["mask_ar100"] == 1
    assert figures["box_ap50"] == pytest.approx(1)  # IoU one half exactly
    assert figures["box_ap"] == pytest.approx(0.1)


def test_floors_are_rows_of_their_own():
    rows = _scores(lambda truth, _: _renamed(truth, [1, 2, 3], [1, 2, 3]))
    assert list(rows) == ["mask", "whole image", "ellipse", "twenty boxes"]
    assert all(0 <= rows[row].metrics["box_ap50"] < 0.5 for row in list(rows)[1:])
    boxes = object_floors((40, 80))["twenty boxes"]
    assert len(boxes.masks) == 20
    assert boxes.masks[0].sum() == 36 * 72
    assert boxes.masks[-1].nonzero()[0].tolist() == [20, 40]


def test_an_unknown_protocol_names_those_that_exist():
    with pytest.raises(UserError, match="strict, u2seg, train"):
        get_panoptic_protocol("fullres")


def _halves(truth, index):
    """Every other image is right, in the others discs are squares."""
    return _renamed(truth, [1 + index % 2, 2, 3], [1, 2, 3])


# Of two processes: not as many images, and none.
SHARES = [([0, 2, 4, 6, 7], [1, 3, 5]), ([], range(8))]


def _figures(indices):
    rows = _scores(_halves, indices=indices, kind=ClassedEvaluator)
    return {row: score.metrics for row, score in rows.items()}


def _no_backend(*args, **options):
    raise RuntimeError("No backend type associated with device type cpu")


def _process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    dist.all_gather = _no_backend  # NCCL refuses the tensors of metrics on the CPU
    torch.save([_figures(shares[rank]) for shares in SHARES], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_figures_of_one_whatever_their_shares(tmp_path):
    if not dist.is_gloo_available():
        pytest.skip("this torch has no gloo")
    mp.spawn(_process, args=(str(tmp_path),), nprocs=2)
    expected = {row: pytest.approx(metrics) for row, metrics in _figures(range(8)).items()}
    assert {"pq", "mask_ap", "class_box_ap"} <= set(_figures(range(8))["mask"])
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == [expected] * len(SHARES)


def _columns(*classes):
    """A map (1, 8, 10) with a class for each half."""
    return torch.tensor(classes).repeat_interleave(5).expand(1, 8, 10)


def _stuff_alone(semantic, segments=None):
    nothing = Instances(torch.zeros(0, 8, 10, dtype=torch.bool), torch.zeros(0).long(), torch.zeros(0))
    return Panoptic(nothing, semantic, segments)


def _stuff_scores(protocol, scored, mapping=()):
    """Scores of pairs of true stuff and clusters of stuff; ``mapping`` are those of other images."""
    evaluator = PanopticEvaluator("halves", 6, 6, protocol)
    for add, pairs in ((evaluator.add, scored), (evaluator.add_to_mapping, mapping)):
        for name, (truth, clusters) in enumerate(pairs):
            prediction = _predicted(_stuff_alone(truth).instances, clusters)
            add(Target(str(name), panoptic=_stuff_alone(truth)), {"mask": prediction})
    return evaluator.result()


# Cluster 3 is the class 1 where 1 is as well, but on fewer pixels; on the other images 1 and 2 change places.
SCORED = [(_columns(1, 2), _columns(1, 2)), (_columns(1, 1), _columns(3, 3))]
OTHERS = [(_columns(2, 1), _columns(1, 3))]


@pytest.mark.parametrize(("protocol", "expected"), [("strict", 5 / 6), ("u2seg", 1), ("train", 1 / 3)])
def test_the_three_ways_to_find_the_classes_of_clusters_differ(protocol, expected):
    """By hand: one cluster for class 1 misses one of its two segments; class 2 is right, or where 1 is."""
    chosen = get_panoptic_protocol(protocol, mapping_set="others" if protocol == "train" else None)
    result = _stuff_scores(chosen, SCORED, OTHERS if protocol == "train" else ())
    figures = result.rows["mask"].metrics
    assert figures["pq"] == pytest.approx(expected)
    assert figures["semantic_miou"] == pytest.approx(expected)
    said = result.protocol.as_dict()
    assert (said["name"], said["mapped_on"]) == (protocol, "train" if protocol == "train" else "scored")
    assert said["mapping_set"] == chosen.mapping_set


def test_without_other_images_their_protocol_says_what_to_pass():
    with pytest.raises(UserError, match=r"--data\.mapping SET"):
        _stuff_scores(get_panoptic_protocol("train"), SCORED)


def test_segments_of_joined_kinds_of_stuff_stay_apart_as_published():
    truth = _stuff_alone(_columns(1, 1), _columns(7, 8))
    for protocol, expected in (("strict", 1), ("u2seg", 0)):  # no IoU is above one half
        evaluator = PanopticEvaluator("halves", 6, 6, get_panoptic_protocol(protocol))
        evaluator.add(Target("0", panoptic=truth), {"mask": _predicted(truth.instances, _columns(4, 4))})
        assert evaluator.result().rows["mask"].metrics["pq"] == expected


def test_a_cluster_of_stuff_votes_once_an_image_for_a_class_whatever_its_segments():
    """By hand: one image of class 1 against two of class 2, so the cluster is class 2."""
    evaluator = PanopticEvaluator("halves", 6, 6, get_panoptic_protocol("u2seg"))
    many = torch.arange(10).expand(1, 8, 10)  # none of which has an IoU above 0.15
    for name, (kind, segments) in enumerate([(1, _columns(1, 2)), (2, many), (2, _columns(1, 1))]):
        truth = _stuff_alone(_columns(kind, kind), segments)
        evaluator.add(Target(str(name), panoptic=truth), {"mask": _predicted(truth.instances, _columns(4, 4))})
    result = evaluator.result().rows["mask"]
    assert result.metrics["semantic_accuracy"] == pytest.approx(2 / 3)
    # Of class 2, one of eleven segments is right, and two of three that are predicted are wrong.
    assert result.per_class["pq"] == [0, pytest.approx(1 / (1 + 0.5 * 10 + 0.5 * 2))]


def test_where_no_cluster_has_a_class_pixels_have_no_score():
    truth = _stuff_alone(_columns(1, 1))
    evaluator = PanopticEvaluator("halves", 6, 6, get_panoptic_protocol("u2seg"))
    evaluator.add(Target("0", panoptic=truth), {"mask": _predicted(truth.instances, _columns(0, 0))})
    figures = evaluator.result().rows["mask"].metrics
    assert figures["pq"] == 0
    assert "semantic_miou" not in figures and "semantic_accuracy" not in figures


def test_pixels_of_stuff_are_scored_as_by_the_first_implementation(golden):
    values = {name: torch.from_numpy(array) for name, array in np.load(golden / "u2seg_matching.npz").items()}
    evaluators = {
        dropped: PanopticEvaluator("golden", 6, 27, get_panoptic_protocol("u2seg", drop_unmapped=dropped))
        for dropped in (True, False)
    }
    for name, (truth, clusters) in enumerate(zip(values["stuff_gt_15"], values["stuff_pred"], strict=True)):
        truth, clusters = truth.long()[None], clusters.long()[None]
        target = Target(str(name), panoptic=Panoptic(_thing(truth == 0), truth))
        for evaluator in evaluators.values():
            evaluator.add(target, {"mask": _predicted(_thing(clusters == 0), clusters)})
    lookup, strict = (evaluators[dropped].result().rows["mask"].metrics for dropped in (True, False))
    assert lookup["semantic_miou"] == pytest.approx(float(values["stuff_lookup_miou"]))
    assert lookup["semantic_accuracy"] == pytest.approx(float(values["stuff_lookup_pacc"]))
    assert strict["semantic_miou"] == pytest.approx(float(values["stuff_strict_miou"]))


def _thing(mask):
    return Instances(mask, torch.ones(1, dtype=torch.int64), torch.ones(1))
