import inspect
from pathlib import Path

import pytest
import torch

from segtricks.backbones import BACKBONE_NAMES, Backbone, create_backbone
from segtricks.backbones.descriptor import DescriptorBackbone
from segtricks.errors import UserError

from .vit_references import random_images


def own_backbone(**arguments: object) -> Backbone:
    backbone = DescriptorBackbone("mine", 16)
    backbone.arguments = arguments
    return backbone


def no_backbone(**_: object) -> int:
    return 3


def test_signature_is_the_public_contract() -> None:
    parameters = inspect.signature(create_backbone).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert defaults == dict(
        name=inspect.Parameter.empty, pretrained=True, checkpoint=None, feature="key", layer=-1, pos_interp="dino"
    )
    assert parameters["pos_interp"].kind is inspect.Parameter.KEYWORD_ONLY


def test_dino_vits8_has_the_shapes_of_the_paper() -> None:
    backbone = create_backbone("dino_vits8", pretrained=False)
    assert (backbone.name, backbone.patch_size, backbone.feature_dim, backbone.tau) == ("dino_vits8", 8, 384, 0.4)
    assert backbone(random_images(32, 48)).shape == (2, 384, 4, 6)
    assert isinstance(backbone, Backbone)
    assert not backbone.training and not any(parameter.requires_grad for parameter in backbone.parameters())


def test_checkpoint_beats_the_hub_and_decides_the_features(tmp_path: Path) -> None:
    first = create_backbone("vit_tiny_patch16_224", pretrained=False, feature="token")
    import timm

    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True)
    torch.save({"teacher": {f"backbone.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "a.pth")
    images = random_images(224, 224, batch=1)
    loaded = create_backbone("vit_tiny_patch16_224", checkpoint=tmp_path / "a.pth", feature="token")(images)
    expected = model.eval().forward_features(images)[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    torch.testing.assert_close(loaded, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(first(images), loaded)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("dino_vits9", "dino_vits8"), ("vit_tiny_patch16_225", "vit_tiny_patch16_224"), ("descriptr", "descriptor")],
)
def test_unknown_name_suggests_close_ones_and_lists_the_short_ones(name: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        create_backbone(name)
    suggestion, listing = str(error.value).splitlines()
    assert hint in suggestion
    assert all(known in listing for known in BACKBONE_NAMES)


def test_unknown_weights_tag_suggests_the_one_there_is() -> None:
    with pytest.raises(UserError, match=r"Did you mean.*vit_small_patch8_224\.dino"):
        create_backbone("vit_small_patch8_224.din", pretrained=False)


@pytest.mark.parametrize("name", ["resnet50", "deit_small_distilled_patch16_224", "vit_tiny_r_s16_p8_224"])
def test_timm_model_that_is_no_plain_vit_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*not a plain ViT"):
        create_backbone(name, pretrained=False)


@pytest.mark.parametrize(
    ("option", "value", "legal"),
    [("feature", "keys", "key, query, value, token"), ("pos_interp", "bilinear", "dino, timm")],
)
@pytest.mark.parametrize("name", ["dino_vits8", "descriptor"])
def test_bad_choice_names_the_legal_ones_before_anything_is_loaded(
    name: str, option: str, value: str, legal: str
) -> None:
    with pytest.raises(UserError, match=f"{option} '{value}' is none of {legal}"):
        create_backbone(name, **{option: value})


@pytest.mark.parametrize("option", [dict(checkpoint="a.pth"), dict(feature="value"), dict(layer=3)])
def test_descriptor_refuses_options_that_it_would_have_to_ignore(option: dict) -> None:
    with pytest.raises(UserError, match="no weights and no layers"):
        create_backbone("descriptor", **option)


def test_a_backbone_of_ones_own_needs_no_edit_here() -> None:
    backbone = create_backbone(f"{__name__}:own_backbone", checkpoint="mine.pth", layer=3)
    assert backbone.patch_size == 16
    assert backbone.arguments == dict(pretrained=True, checkpoint="mine.pth", feature="key", layer=3, pos_interp="dino")


class Plain(Backbone):
    def __init__(self) -> None:
        super().__init__("plain", patch_size=8, feature_dim=3, tau="share:0.6")

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 8)


class Layered(Plain):
    def __init__(self, layer: int = -1) -> None:
        super().__init__()
        self.layer = layer


def test_a_backbone_of_ones_own_gets_the_arguments_that_it_takes_and_no_other() -> None:
    images = random_images(16, 24)
    features = create_backbone(f"{__name__}:Plain", pretrained=False, pos_interp="timm")(images)
    torch.testing.assert_close(features[0, :, 0, 0], images[0, :, :8, :8].mean(dim=(1, 2)))
    assert create_backbone(f"{__name__}:Layered", layer=3).layer == 3


@pytest.mark.parametrize(("option", "value"), [("checkpoint", "a.pth"), ("feature", "query"), ("layer", 3)])
def test_an_option_that_an_own_backbone_would_ignore_is_refused(option: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"Plain' takes no {option}, and got {value!r}.*\nNext: leave it out"):
        create_backbone(f"{__name__}:Plain", **{option: value})


@pytest.mark.parametrize("name", ["no.such.module:Thing", f"{__name__}:missing", f"{__name__}:no_backbone", ":x"])
def test_an_own_backbone_that_cannot_be_had_is_a_user_error(name: str) -> None:
    with pytest.raises(UserError, match=name.split(":")[-1]):
        create_backbone(name)
