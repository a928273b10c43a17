import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from segtricks.discovery.prototypes import PrototypeClusters
from segtricks.errors import UserError
from segtricks.metrics import SemanticIoU
from segtricks.metrics.measures import MEASURES
from segtricks.scoring import semantic_figures
from segtricks.scoring.evaluator import Target
from segtricks.scoring.semantic import Embedded, SemanticEvaluator
from segtricks.scoring.semantic_protocol import SemanticProtocol

KINDS = 4


def _scene(number, kind, noise=0.1):
    """An image with one object of a kind: its name and labels, and features that show the kind."""
    generator = torch.Generator().manual_seed(number)
    top, left = torch.randint(0, 16, (2,), generator=generator).tolist()
    mask = torch.zeros(32, 40, dtype=torch.bool)
    mask[top : top + 16, left : left + 20] = True
    features = torch.randn(8, 8, 10, generator=generator) * noise
    features[kind] += 1
    return Target(f"{number:03}", labels=mask.long()[None] * kind), Embedded(features, mask)


def _evaluator(numbers, protocol=None, bank=()):
    protocol = protocol or SemanticProtocol(num_classes=KINDS + 1, components=3)
    evaluator = SemanticEvaluator("scenes", protocol, ("trained", "untrained"))
    for number in numbers:
        target, trained = _scene(number, 1 + number % KINDS)
        evaluator.add(target, {"trained": trained, "untrained": trained._replace(features=torch.ones(8, 8, 10))})
    for number in bank:
        target, trained = _scene(number, 1 + number % KINDS)
        evaluator.add_to_bank(target, {"trained": trained})
    return evaluator


@pytest.fixture(scope="module")
def scenes():
    return _evaluator(range(40), bank=range(40, 60)).result()


def test_separate_kinds_are_found_and_equal_features_are_not(scenes):
    trained, untrained = scenes.rows["trained"].metrics, scenes.rows["untrained"].metrics
    assert trained["kmeans_miou"] == trained["kmeans_miou_present"] == trained["kmeans_accuracy"] == 1
    assert trained["kmeans_miou_std"] == 0
    assert untrained["kmeans_miou"] < 0.5
    assert scenes.images == 40


def test_nearest_vectors_of_the_bank_give_the_label(scenes):
    assert scenes.rows["trained"].metrics["retrieval_miou"] == 1
    assert "retrieval_miou" not in scenes.rows["untrained"].metrics  # no bank


def test_every_image_has_its_cluster_and_classes(scenes):
    lines = [line for line in scenes.lines() if line["mask"] == "trained"]
    assert [line["image"] for line in lines] == [f"{number:03}" for number in range(40)]
    assert all(line["class"] == line["true_class"] for line in lines)
    assert len({line["cluster"] for line in lines}) == KINDS


def test_result_file_has_every_choice_and_known_names(scenes):
    content = scenes.as_dict("trained", "model")
    assert content["protocol"]["seeds"] == (1234, 1235, 1236, 1237, 1238)
    assert content["protocol"]["clusters"] == KINDS
    assert len(content["per_class"]["trained"]["kmeans_miou"]) == KINDS + 1
    assert set(content["metrics"]) - {"kmeans_miou_std"} <= set(MEASURES)


def test_published_kmeans_figures_from_the_published_clusters(golden, monkeypatch):
    values = np.load(golden / "maskcontrast_kmeans.npz")
    published = dict(zip(values["seeds"].tolist(), torch.from_numpy(values["clusters"]).long(), strict=True))

    def clusters_of(vectors, num_clusters, components, seed):
        torch.testing.assert_close(vectors, torch.from_numpy(values["prototypes"]), atol=1e-3, rtol=0)
        assert (num_clusters, components) == (5, 32)
        return PrototypeClusters(published[seed], vectors)

    monkeypatch.setattr(semantic_figures, "cluster_prototypes", clusters_of)
    evaluator = SemanticEvaluator("golden", SemanticProtocol(num_classes=6, seeds=tuple(published)))
    for number, (embedding, logits, target) in enumerate(
        zip(values["embedding"], values["saliency_logits"], values["target"], strict=True)
    ):
        embedded = Embedded(torch.from_numpy(embedding), torch.from_numpy(logits)[None])
        evaluator.add(Target(f"{number:03}", labels=torch.from_numpy(target)), {"mask": embedded})
    score = evaluator.result().rows["mask"]
    assert score.metrics["kmeans_miou"] == pytest.approx(values["miou"].mean(), abs=1e-6)
    assert score.per_class["kmeans_miou"] == pytest.approx(values["per_class_iou"].mean(axis=0), abs=1e-6)


def test_published_retrieval_figures(golden):
    values = np.load(golden / "maskcontrast_retrieval.npz")
    protocol = SemanticProtocol(num_classes=6, retrieval_classes=(2, 4))
    evaluator = SemanticEvaluator("golden", protocol)
    for split, add in (("train", evaluator.add_to_bank), ("val", evaluator.add)):
        for number, embedding in enumerate(values[f"{split}_embedding"]):
            saliency, target = (torch.from_numpy(values[f"{split}_{name}"][number]) for name in ("saliency", "target"))
            add(Target(str(number), labels=target), {"mask": Embedded(torch.from_numpy(embedding), saliency)})
    scored, bank = list(evaluator._scored["mask"]), list(evaluator._bank["mask"])
    found = semantic_figures.retrieval_scores(scored, bank, range(1, 6))
    assert found["per_class"].tolist() == pytest.approx(values["per_class_iou"].tolist(), abs=1e-6)


def test_few_classes_do_not_count_pixels_of_the_others():
    evaluator = _evaluator(range(8), bank=range(8, 16))
    regions = list(evaluator._scored["trained"])
    found = semantic_figures.retrieval_scores(regions, list(evaluator._bank["trained"]), (1, 3))
    metric = SemanticIoU(3)
    for number in range(8):
        target, embedded = _scene(number, 1 + number % KINDS)
        kinds = torch.tensor([0, 1, 255, 2, 255])[target.labels]
        nearest = {1: 1, 3: 2}.get(1 + number % KINDS)
        # An object of another kind is void; its foreground covers nothing else here.
        metric.update(embedded.saliency[None].long() * (nearest or 1), kinds)
    assert found["per_class"].tolist() == metric.compute()["per_class"].tolist()


def test_more_clusters_are_an_upper_bound_under_a_name_of_their_own():
    protocol = SemanticProtocol(num_classes=KINDS + 1, components=3, overclusters=10, seeds=(0,))
    metrics = _evaluator(range(30), protocol).result().rows["trained"].metrics
    assert metrics["overclustering_miou"] == metrics["overclustering_miou_present"] == 1
    assert metrics["overclustering_miou_matched"] < 0.8  # six clusters are left over


def test_absent_classes_lower_the_published_figure_alone():
    protocol = SemanticProtocol(num_classes=KINDS + 3, components=3, seeds=(0,))
    metrics = _evaluator(range(30), protocol).result().rows["trained"].metrics
    assert metrics["kmeans_miou"] < metrics["kmeans_miou_present"]


def test_too_few_images_are_refused_before_the_first():
    with pytest.raises(UserError, match="at least 20 images"):
        SemanticEvaluator("scenes", images=19)


def test_classes_that_the_protocol_lacks_are_refused():
    target, embedded = _scene(0, 3)
    evaluator = SemanticEvaluator("scenes", SemanticProtocol(num_classes=2))
    with pytest.raises(UserError, match=r"(?s)000 has the class 3, .* --model\.semantic\.num_classes 4"):
        evaluator.add(target, {"mask": embedded})


def test_void_pixels_do_not_count():
    target, embedded = _scene(0, 1)
    target.labels[..., :3] = 255
    evaluator = SemanticEvaluator("scenes", SemanticProtocol(num_classes=2))
    evaluator.add(target, {"mask": embedded})
    assert int(next(iter(evaluator._scored["mask"])).counts.sum()) == 32 * 37


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the resident memory of Linux")
def test_memory_does_not_grow_by_maps():
    evaluator = SemanticEvaluator("scenes")
    features, mask = torch.randn(32, 37, 37), torch.rand(512, 512) > 0.5
    grown = 0
    for number in range(120):
        labels = torch.ones(1, 375, 500, dtype=torch.int64)  # 1.5 MB
        evaluator.add(Target(str(number), labels=labels), {"mask": Embedded(features, mask)})
        if number == 19:
            grown = -_resident_mb()
    grown += _resident_mb()
    assert grown < 40  # 120 and more where each image leaves a hole as large as its labels


def _resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    numbers = range(rank, 41, 2)
    torch.save(_evaluator(numbers).result().rows["untrained"].metrics, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_the_figures_of_one(tmp_path):
    if not dist.is_gloo_available():
        pytest.skip("this torch has no gloo")
    mp.spawn(_process, args=(str(tmp_path),), nprocs=2)
    expected = _evaluator(range(41)).result().rows["untrained"].metrics
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == expected
