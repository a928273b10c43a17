"""The dilated ResNet against torchvision's, and the files that its weights come in."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from segtricks.backbones import create_backbone
from segtricks.errors import UserError

from .vit_references import random_images


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """torchvision's ResNet-50 with random weights and statistics, its strides replaced as in segmentation networks."""
    torch.manual_seed(0)
    model = resnet50(replace_stride_with_dilation=[False, True, True])
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return model.eval()


def features_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    stem = model.maxpool(model.relu(model.bn1(model.conv1(images))))
    return model.layer4(model.layer3(model.layer2(model.layer1(stem))))


def as_torchvision_2017(state: dict) -> dict:
    """Without counters of batch norms."""
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def as_moco(state: dict) -> dict:
    """Query and key encoder with their projections, and the queue, in a training checkpoint."""
    trunk = {key: value for key, value in state.items() if not key.startswith("fc.")}
    query = {f"module.encoder_q.{key}": value for key, value in trunk.items()}
    key = {f"module.encoder_k.{key}": torch.zeros_like(value) for key, value in trunk.items()}
    others = {"module.encoder_q.fc.0.weight": torch.zeros(4, 4), "module.queue": torch.zeros(2, 3)}
    return {"epoch": 800, "arch": "resnet50", "state_dict": query | key | others}


@pytest.mark.parametrize("layout", [dict, as_torchvision_2017, as_moco])
def test_features_equal_torchvisions_in_every_layout_of_the_file(layout, reference: nn.Module, tmp_path: Path) -> None:
    torch.save(layout(reference.state_dict()), tmp_path / "weights.pth")
    backbone = create_backbone("moco_resnet50", checkpoint=tmp_path / "weights.pth")
    images = random_images(40, 64)
    found = backbone(images)
    assert found.shape == (2, 2048, 5, 8)
    torch.testing.assert_close(found, features_of(reference, images), rtol=1e-4, atol=1e-4)
    assert backbone.weights == "file weights.pth"


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"does not fit 'moco_resnet50': \d+ keys missing"):
        create_backbone("moco_resnet50", checkpoint=tmp_path / "weights.pth")


@pytest.mark.parametrize(("blocks", "trained"), [(None, {1, 2, 3, 4}), (2, {3, 4})])
def test_what_is_thawed_is_trained_and_the_rest_keeps_its_statistics(blocks: int | None, trained: set[int]) -> None:
    backbone = create_backbone("supervised_resnet50", pretrained=False)
    backbone.thaw(blocks)
    backbone.train()
    stages = {number: getattr(backbone.model, f"layer{number}") for number in (1, 2, 3, 4)}
    assert {number for number, stage in stages.items() if stage[0].bn1.training} == trained
    assert {number for number, stage in stages.items() if stage[0].conv1.weight.requires_grad} == trained
    assert backbone.model.bn1.training == backbone.model.conv1.weight.requires_grad == (blocks is None)
    assert not any(module.training for module in backbone.eval().modules())


def test_stages_that_it_does_not_have_and_features_are_refused() -> None:
    with pytest.raises(UserError, match="has 4 stages"):
        create_backbone("supervised_resnet50", pretrained=False).thaw(5)
    with pytest.raises(UserError, match="last stage alone"):
        create_backbone("supervised_resnet50", pretrained=False, feature="token")
