import json

import numpy as np
import pytest
import torch

from segtricks.errors import UserError
from segtricks.metrics import SaliencyScores, get_protocol, image_scores
from segtricks.metrics.measures import IMAGE_MEASURES


@pytest.mark.parametrize("name", ["fullres", "two-tricks"])
def test_scores_equal_the_first_implementation(golden, name):
    values = np.load(golden / "metrics.npz")
    scores = SaliencyScores(get_protocol(name))
    scores.update(torch.from_numpy(values["pred"]), torch.from_numpy(values["gt"]))
    result = {key: value.item() for key, value in scores.compute().items()}
    expected = {"acc": "accuracy", "iou": "iou", "max_fbeta": "max_fbeta_255"}
    golden_values = {key: values[name].item() for key, name in expected.items()}
    assert {key: result[key] for key in expected} == pytest.approx(golden_values, abs=1e-6)


def test_soft_targets_count_for_f_but_not_for_iou_under_the_papers_protocol():
    pred, target = torch.ones(1, 1, 1, 2), torch.tensor([1.0, 0.2]).reshape(1, 1, 1, 2)
    scores = SaliencyScores(get_protocol("two-tricks"))
    scores.update(pred, target)
    result = scores.compute()
    assert result["iou"] == 0.5
    assert result["max_fbeta"] == 1


def test_every_choice_is_plain_data():
    choices = get_protocol("two-tricks").as_dict()
    assert json.loads(json.dumps(choices)) == choices
    assert (choices["resize"], choices["size"], choices["batch_size"], choices["bn_mode"]) == (335, 320, 8, "batch")


def test_unknown_protocol_lists_the_known():
    with pytest.raises(UserError, match="fullres, two-tricks"):
        get_protocol("fulres")


def test_choices_are_changed_in_the_name_and_beat_defaults():
    protocol = get_protocol("sod:beta2=1,stretch=false,size=320,f_average=images", polarity="none", beta2=2.0)
    assert (protocol.beta2, protocol.stretch, protocol.size, protocol.f_average) == (1.0, False, 320, "images")
    assert protocol.polarity == "none"
    assert protocol.name == "sod:beta2=1,stretch=false,size=320,f_average=images"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sod:beta=1", "Unknown choice 'beta' of protocol sod. Allowed: resolution, interpolation"),
        ("sod:beta2=high", "beta2 must be a number, got 'high'"),
        ("sod:polarity=left", "polarity must be image or border or batch or none, got 'left'"),
        ("sod:size=big", "size must be a whole number"),
        ("sod:name=mine", "Unknown choice 'name'"),
    ],
)
def test_wrong_choices_say_what_is_allowed(spec, message):
    with pytest.raises(UserError, match=message):
        get_protocol(spec)


def test_selfmask_equals_the_first_implementation_also_on_an_image_empty_in_both(golden):
    arrays = np.load(golden / "selfmask_inference.npz")
    pred, target = (torch.from_numpy(arrays[name])[:, None] for name in ("prediction", "target"))
    protocol = get_protocol("selfmask")
    measures = {
        "iou": "iou",
        "acc": "pixel_accuracy",
        "max_fbeta": "f_max",
        "adaptive_fbeta": "f_adaptive",
        "mae": "mae",
    }
    single = [image_scores(pred[i : i + 1], target[i : i + 1], protocol).values for i in range(len(pred))]
    for name, published in measures.items():
        values = [values[IMAGE_MEASURES.index(name)].item() for values in single]
        assert values == pytest.approx(arrays[published].tolist(), abs=1e-5)
    scores = SaliencyScores(protocol)
    scores.update(pred, target)
    assert scores.compute()["iou"].item() == pytest.approx(arrays["mean_iou"].item(), abs=1e-6)
    assert scores.compute()["max_fbeta"].item() == pytest.approx(arrays["mean_f_max"].item(), abs=1e-5)
    scores.update(torch.zeros(1, 1, 45, 61), torch.zeros(1, 1, 45, 61))
    assert scores.compute()["iou"].item() == pytest.approx(arrays["mean_iou"].item() * 6 / 7, abs=1e-6)
    assert scores.counts() == (7, 0)
