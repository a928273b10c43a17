import numpy as np
import pytest
import torch

from segtricks.discovery import pool_regions
from segtricks.metrics import SemanticIoU, majority_label, retrieve_labels


def _regions(values, split):
    embeddings, logits, targets = (
        torch.from_numpy(values[f"{split}_{name}"]) for name in ("embedding", "saliency", "target")
    )
    weights = torch.where(logits > 0.5, logits, 0)
    vectors = [pool_regions(embedding, weight[None])[0] for embedding, weight in zip(embeddings, weights, strict=True)]
    return torch.stack(vectors), weights > 0, targets


def test_retrieval_equals_the_first_implementation(golden):
    values = np.load(golden / "maskcontrast_retrieval.npz")
    vectors, regions, targets = _regions(values, "train")
    labels = [majority_label(region, target) for region, target in zip(regions, targets, strict=True)]
    kept = [place for place, label in enumerate(labels) if label is not None]
    bank, bank_labels = vectors[kept], torch.tensor([labels[place] for place in kept])
    torch.testing.assert_close(bank, torch.from_numpy(values["bank_prototypes"]), atol=1e-3, rtol=0)
    assert bank_labels.tolist() == values["bank_labels"].tolist()

    queries, regions, targets = _regions(values, "val")
    prediction = retrieve_labels(queries, bank, bank_labels)[:, None, None] * regions
    assert np.array_equal(prediction.numpy(), values["prediction"])
    metric = SemanticIoU(len(values["per_class_iou"]))
    metric.update(prediction, targets)
    assert metric.compute()["miou"].item() == pytest.approx(values["miou"].item(), abs=1e-6)


def test_the_highest_of_equally_frequent_labels_wins():
    target = torch.tensor([[3, 3, 7, 7, 0, 0, 0, 255]], dtype=torch.uint8)
    assert majority_label(torch.ones(1, 8), target) == 7


def test_labels_outside_the_region_do_not_count():
    target = torch.tensor([[3, 7, 7, 7]])
    assert majority_label(torch.tensor([[1, 1, 0, 0]]), target, ignore=(7,)) == 3


def test_a_region_of_ignored_labels_has_none():
    assert majority_label(torch.ones(1, 3), torch.tensor([[0, 255, 0]])) is None
    assert majority_label(torch.zeros(1, 3), torch.tensor([[1, 2, 3]])) is None


def test_negative_labels_do_not_count():
    target = torch.tensor([[-1, -1, 3]])
    assert majority_label(torch.ones(1, 3), target, ignore=(-1, 255)) == 3
    assert majority_label(torch.ones(1, 3), target.clamp(max=-1)) is None


def test_neighbours_are_not_rounded_by_autocast_and_vectors_may_differ_in_dtype():
    bank = torch.tensor([[1.0, 0.0], [0.999, 0.0447]])
    query = torch.tensor([[0.999, 0.0447]], dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert retrieve_labels(query, bank, torch.tensor([4, 7])).tolist() == [7]
        assert retrieve_labels(query.float(), bank, torch.tensor([4, 7])).tolist() == [7]
