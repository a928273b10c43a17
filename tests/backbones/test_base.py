import pytest
import torch
from torch import Tensor, nn

from segtricks.backbones.base import Backbone
from segtricks.errors import UserError


class Pixels(Backbone):
    """Shows what a subclass sees."""

    def __init__(self) -> None:
        super().__init__("pixels", patch_size=8, feature_dim=3, tau=0.5)
        self.norm = nn.BatchNorm2d(3)

    def extract(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return self.norm(images[..., ::8, ::8])


def test_train_of_the_whole_model_leaves_the_backbone_in_eval_mode() -> None:
    model = nn.Sequential(Pixels(), nn.Conv2d(3, 1, 1)).train()
    assert model[1].training
    assert not any(module.training for module in model[0].modules())


def test_features_carry_no_gradient_even_if_the_images_ask_for_it() -> None:
    assert not Pixels()(torch.zeros(1, 3, 16, 16, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    ("height", "width", "legal"),
    [
        (330, 500, "height 328 or 336, width 496 or 504"),
        (16, 20, "height 16, width 16 or 24"),
        (5, 8, "height 8, width 8"),
    ],
)
def test_sides_that_are_no_multiple_name_the_nearest_legal_ones(height: int, width: int, legal: str) -> None:
    with pytest.raises(UserError) as error:
        Pixels()(torch.zeros(1, 3, height, width))
    assert f"{height}x{width}" in str(error.value) and legal in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 16, 16), torch.zeros(1, 1, 16, 16), torch.zeros(1, 3, 16, 16, dtype=torch.uint8)]
)
def test_input_that_is_no_float_rgb_batch_is_refused_with_its_shape(images: Tensor) -> None:
    with pytest.raises(UserError, match=str(tuple(images.shape)).replace("(", r"\(").replace(")", r"\)")):
        Pixels()(images)


def test_empty_image_is_refused_instead_of_giving_empty_features() -> None:
    with pytest.raises(UserError, match="0x16"):
        Pixels()(torch.zeros(1, 3, 0, 16))


@pytest.mark.parametrize(("patch", "dim"), [(4, 3), (8, 5)])
def test_features_of_another_shape_than_promised_are_named(patch: int, dim: int) -> None:
    backbone = Pixels()
    backbone.patch_size, backbone.feature_dim = patch, dim
    with pytest.raises(
        UserError, match=rf"gave features \(2, 3, 2, 3\), .* \(2, {dim}, {16 // patch}, {24 // patch}\)"
    ):
        backbone(torch.rand(2, 3, 16, 24))
