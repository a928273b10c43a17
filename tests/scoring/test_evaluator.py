import numpy as np
import pytest
import torch

from segtricks.metrics import CorLoc, SaliencyScores, get_protocol
from segtricks.scoring.evaluator import SaliencyEvaluator, Target

FULL = get_protocol("fullres")


def image(seed, size=(12, 10)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 1, *size, generator=generator), torch.rand(1, 1, *size, generator=generator) > 0.5


def test_rows_are_scored_apart_and_equal_the_metric():
    evaluator = SaliencyEvaluator("photos", FULL, ("mask", "refined"))
    metric = SaliencyScores(FULL)
    for seed in range(3):
        prediction, truth = image(seed)
        evaluator.add(Target(f"{seed}.jpg", truth), {"mask": prediction, "refined": 1 - prediction})
        metric.update(prediction, truth)
    found = evaluator.result()
    assert found.rows["mask"].metrics == {name: float(value) for name, value in metric.compute().items()}
    assert found.rows["refined"].metrics["iou"] != found.rows["mask"].metrics["iou"]
    assert [line["image"] for line in found.lines()] == ["0.jpg", "1.jpg", "2.jpg"] * 2
    assert (found.images, found.rows["mask"].size_bins) == (3, metric.size_bins())


def test_images_scored_and_images_listed_are_all_images():
    evaluator = SaliencyEvaluator("photos", FULL)
    prediction, truth = image(0)
    evaluator.add(Target("a.jpg", truth), {"mask": prediction})
    evaluator.skip("b.jpg", "damaged")
    content = evaluator.result().as_dict("mask", "model", checkpoint=None)
    assert (content["images"], content["skipped"]) == (1, [{"path": "b.jpg", "reason": "damaged"}])
    assert content["metrics"] == content["rows"]["mask"]


@pytest.mark.parametrize(("box", "hit"), [((2, 2, 8, 8), 1), ((0, 0, 3, 3), 0)])
def test_boxes_refer_to_the_size_of_their_image(box, hit):
    mask = torch.zeros(1, 1, 5, 5)
    mask[..., 1:4, 1:4] = 1  # of a photograph of 10 x 10: 2 to 8
    evaluator = SaliencyEvaluator("photos", get_protocol("tokencut"), masks=False, boxes=True)
    evaluator.add(Target("a.jpg", boxes=np.array([box]), size=(10, 10)), {"mask": mask})
    score = evaluator.result().rows["mask"]
    assert (score.metrics, score.lines()) == ({"corloc": hit}, [{"image": "a.jpg", "corloc": hit}])
    metric = CorLoc()
    metric.update(torch.nn.functional.interpolate(mask, size=(10, 10)), [torch.tensor([box])])
    assert float(metric.compute()) == hit


def test_judging_touches_no_sum():
    evaluator = SaliencyEvaluator("photos", FULL)
    prediction, truth = image(0)
    evaluator.judge(Target("a.jpg", truth), {"mask": prediction})
    assert evaluator.images == 0


def test_protocol_turns_masks_one_by_one_or_a_batch_at_once():
    bright, dark = torch.full((1, 1, 4, 4), 0.9), torch.full((1, 1, 2, 6), 0.2)
    alone = get_protocol("fullres:polarity=image").turn([bright, dark])
    together = get_protocol("fullres:polarity=batch").turn([bright, dark])
    assert [round(float(mask.mean()), 4) for mask in alone] == [0.1, 0.2]
    assert [round(float(mask.mean()), 4) for mask in together] == [0.1, 0.8]
