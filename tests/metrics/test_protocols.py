import json

import numpy as np
import pytest
import torch

from segtricks.errors import UserError
from segtricks.metrics import SaliencyScores, get_protocol


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
