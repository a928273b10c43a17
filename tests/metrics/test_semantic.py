import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score

from segtricks.metrics import SemanticIoU
from segtricks.metrics.semantic import semantic_scores


@pytest.fixture(scope="module")
def maps(golden):
    values = np.load(golden / "maskcontrast_semantic_iou.npz")
    return values, torch.from_numpy(values["pred"]), torch.from_numpy(values["target"])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_equals_the_first_implementation_for_any_batch_size(maps, batch):
    values, pred, target = maps
    metric = SemanticIoU(21)
    for start in range(0, len(pred), batch):
        metric.update(pred[start : start + batch], target[start : start + batch])
    scores = metric.compute()
    assert scores["miou"].item() == pytest.approx(values["miou"].item(), abs=1e-5)
    assert scores["per_class"].tolist() == pytest.approx(values["per_class_iou"].tolist(), abs=1e-5)


def test_the_strict_mean_leaves_absent_classes_out(maps):
    _, pred, target = maps
    metric = SemanticIoU(21)
    metric.update(pred, target)
    counted = target != 255
    present = target[counted].unique()
    expected = jaccard_score(target[counted], pred[counted], labels=present, average="macro")
    assert metric.compute()["miou_present"].item() == pytest.approx(expected)
    assert metric.compute()["miou"] < expected


@pytest.mark.parametrize("how", ["hungarian", "majority"])
def test_matched_scores_equal_the_first_implementation(golden, how):
    values = np.load(golden / "maskcontrast_matching.npz")
    confusion = torch.from_numpy(values[f"confusion_{how}"])
    metric = SemanticIoU(21, len(confusion), how)
    metric.add(confusion)
    scores = metric.compute()
    assert scores["miou"].item() == pytest.approx(values[f"miou_{how}"].item(), abs=1e-6)
    assert scores["accuracy"].item() == pytest.approx(values[f"accuracy_{how}"].item(), abs=1e-6)
    assert scores["per_class"].tolist() == pytest.approx(values[f"per_class_iou_{how}"].tolist(), abs=1e-6)


def test_stego_scores_with_minus_one_ignored(golden):
    values = np.load(golden / "u2seg_matching.npz")
    metric = SemanticIoU(6, 6, "hungarian", ignore_index=-1, by="count")
    for pred, target in zip(values["stego_pred"], values["stego_target"], strict=True):
        metric.update(torch.from_numpy(pred)[None], torch.from_numpy(target)[None])
    assert metric.confusion[:-1].tolist() == values["stego_stats"].tolist()
    scores = metric.compute()
    assert scores["mapping"].tolist() == values["stego_mapping"].tolist()
    assert scores["miou"].item() == pytest.approx(values["stego_miou"].item(), abs=1e-6)
    assert scores["accuracy"].item() == pytest.approx(values["stego_accuracy"].item(), abs=1e-6)


def test_pixels_of_left_over_clusters_stay_in_the_target():
    metric = SemanticIoU(2, 3, "hungarian")
    metric.update(torch.tensor([[[0, 0, 1, 1, 2, 2]]]), torch.tensor([[[0, 0, 1, 1, 1, 1]]]))
    scores = metric.compute()
    assert scores["mapping"].tolist() == [0, 1, -1]
    assert scores["per_class"].tolist() == [1.0, 0.5]
    assert scores["accuracy"].item() == pytest.approx(4 / 6)


def test_pixels_without_a_prediction_are_wrong():
    metric = SemanticIoU(2)
    metric.update(torch.tensor([[[0, -1, 255, 1]]]), torch.tensor([[[0, 0, 1, 255]]]))
    assert metric.compute()["per_class"].tolist() == [0.5, 0.0]


def test_equals_a_confusion_matrix_of_all_pixels():
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.randint(0, 5, (2, 6, 11, 13), generator=generator)
    metric = SemanticIoU(5)
    metric.update(pred, target)
    assert metric.confusion[:-1].T.tolist() == confusion_matrix(target.flatten(), pred.flatten()).tolist()


@pytest.mark.parametrize(
    ("pred", "target"),
    [(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), 7)), (torch.full((1, 2, 2), 3), torch.zeros(1, 2, 2).long())],
)
def test_labels_out_of_range_are_refused(pred, target):
    with pytest.raises(ValueError, match="outside 0 to"):
        SemanticIoU(2).update(pred, target)


def test_probabilities_and_unmatched_clusters_are_refused():
    with pytest.raises(ValueError, match="integers"):
        SemanticIoU(2).update(torch.rand(1, 2, 2), torch.zeros(1, 2, 2).long())
    with pytest.raises(ValueError, match="pass a matching"):
        SemanticIoU(2, 3)


def test_scores_of_no_pixels_are_not_numbers():
    scores = semantic_scores(torch.zeros(2, 2), torch.arange(2))
    assert scores["accuracy"].isnan()
    assert scores["miou_present"].isnan()


def test_the_ignored_value_of_the_target_may_be_a_cluster():
    metric = SemanticIoU(3, 300, "majority")
    metric.update(torch.full((1, 2, 2), 255), torch.full((1, 2, 2), 2))
    assert metric.compute()["per_class"].tolist() == [0.0, 0.0, 1.0]
