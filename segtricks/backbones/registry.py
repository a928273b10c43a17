"""The short names: which timm model each stands for, and the official file of its weights."""

import re
from dataclasses import dataclass
from typing import Any

APACHE = "Apache-2.0"
RESNET_STRIDE = 8
"""Pixels of a feature of a ResNet, along a side."""

VIT_OPTIONS = {"dynamic_img_size": True}
"""How timm makes a ViT that takes images of any size."""


@dataclass(frozen=True)
class Pretrained:
    """What a short name stands for.

    Attributes:
        timm_name: Model (and weights tag) in timm's spelling.
        official: File name of the weights that the authors released.
        repository: Where the authors link that file.
        parameters: Number of parameters without a classification head.
        license: License of the weights.
        url: The authors' address of that file; None where they hand it out on request only.
        on_hub: Whether timm's hub has these weights.
        output_stride: Pixels of a ResNet's feature; None for a ViT.
    """

    timm_name: str
    official: str
    repository: str
    parameters: int
    license: str = APACHE
    url: str | None = None
    on_hub: bool = True
    output_stride: int | None = None

    @property
    def hub_id(self) -> str:
        """Repository on timm's hub."""
        return f"timm/{self.timm_name}"

    @property
    def options(self) -> dict[str, Any]:
        """How timm makes the model."""
        return VIT_OPTIONS if self.output_stride is None else {"output_stride": self.output_stride}


def _dino(timm_name: str, official: str, parameters: int) -> Pretrained:
    file = f"{official}_pretrain.pth"
    url = f"https://dl.fbaipublicfiles.com/dino/{official}_pretrain/{file}"
    repository = "https://github.com/facebookresearch/dino"
    return Pretrained(f"{timm_name}_224.dino", file, repository, parameters, url=url)


def _ibot(timm_name: str, folder: str, parameters: int) -> Pretrained:
    file = "checkpoint_teacher.pth"
    url = f"https://lf3-nlp-opensource.bytetos.com/obj/nlp-opensource/archive/2022/ibot/{folder}/{file}"
    repository = "https://github.com/bytedance/ibot"
    return Pretrained(f"{timm_name}_224", file, repository, parameters, url=url, on_hub=False)


def _dinov2(timm_name: str, official: str, parameters: int) -> Pretrained:
    file = f"{official}_pretrain.pth"
    url = f"https://dl.fbaipublicfiles.com/dinov2/{official.removesuffix('_reg4')}/{file}"
    repository = "https://github.com/facebookresearch/dinov2"
    return Pretrained(f"{timm_name}_dinov2.lvd142m", file, repository, parameters, url=url)


def _dinov3(timm_name: str, official: str, parameters: int) -> Pretrained:
    file = f"{official}.pth"
    repository = "https://github.com/facebookresearch/dinov3"
    return Pretrained(f"{timm_name}_dinov3.lvd1689m", file, repository, parameters, "DINOv3 License (gated)")


def _resnet50(timm_name: str, url: str, repository: str, license: str, on_hub: bool) -> Pretrained:
    official = url.rsplit("/", 1)[-1]
    return Pretrained(timm_name, official, repository, 23_508_032, license, url, on_hub, output_stride=RESNET_STRIDE)


_TORCHVISION = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
_MOCO = "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar"

PRETRAINED: dict[str, Pretrained] = {
    "dino_vits8": _dino("vit_small_patch8", "dino_deitsmall8", 21_670_272),
    "dino_vits16": _dino("vit_small_patch16", "dino_deitsmall16", 21_665_664),
    "dino_vitb8": _dino("vit_base_patch8", "dino_vitbase8", 85_807_872),
    "dino_vitb16": _dino("vit_base_patch16", "dino_vitbase16", 85_798_656),
    "ibot_vits16": _ibot("vit_small_patch16", "vits_16", 21_665_664),
    "ibot_vitb16": _ibot("vit_base_patch16", "vitb_16", 85_798_656),
    "ibot_vitl16": _ibot("vit_large_patch16", "vitl_16", 303_301_632),
    "dinov2_vits14": _dinov2("vit_small_patch14", "dinov2_vits14", 22_056_192),
    "dinov2_vits14_reg": _dinov2("vit_small_patch14_reg4", "dinov2_vits14_reg4", 22_057_344),
    "dinov2_vitb14": _dinov2("vit_base_patch14", "dinov2_vitb14", 86_579_712),
    "dinov2_vitb14_reg": _dinov2("vit_base_patch14_reg4", "dinov2_vitb14_reg4", 86_582_016),
    "dinov2_vitl14": _dinov2("vit_large_patch14", "dinov2_vitl14", 304_367_616),
    "dinov2_vitl14_reg": _dinov2("vit_large_patch14_reg4", "dinov2_vitl14_reg4", 304_370_688),
    "dinov3_vits16": _dinov3("vit_small_patch16", "dinov3_vits16_pretrain_lvd1689m-08c60483", 21_586_944),
    "dinov3_vits16plus": _dinov3("vit_small_plus_patch16", "dinov3_vits16plus_pretrain_lvd1689m-4057cbaa", 28_683_264),
    "dinov3_vitb16": _dinov3("vit_base_patch16", "dinov3_vitb16_pretrain_lvd1689m-73cec8be", 85_641_216),
    "dinov3_vitl16": _dinov3("vit_large_patch16", "dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd", 303_079_424),
    "supervised_resnet50": _resnet50(
        "resnet50.tv_in1k", _TORCHVISION, "https://github.com/pytorch/vision", "BSD-3-Clause", on_hub=True
    ),
    "moco_resnet50": _resnet50(
        "resnet50", _MOCO, "https://github.com/facebookresearch/moco", "CC-BY-NC-4.0", on_hub=False
    ),
}

RESNETS: tuple[str, ...] = tuple(name for name, entry in PRETRAINED.items() if entry.output_stride)
"""Backbones of one kind of feature, the output of the last stage."""

DESCRIPTOR_PATCH_SIZES: dict[str, int] = {"descriptor": 8, "descriptor16": 16, "descriptor4": 4}


def whole_patches(size: int, name: str) -> int:
    """The multiple of a backbone's patch that is nearest to ``size``, where its name says how large a patch is."""
    known = PRETRAINED.get(name)
    found = re.search(r"patch(\d+)", name if known is None else known.timm_name)
    patch = int(found[1]) if found else 1
    return max(1, round(size / patch)) * patch


def last_feature(name: str) -> str:
    """What a backbone gives where a method takes the output of its last block: ``token``, or all that it has."""
    return "key" if name in (*DESCRIPTOR_PATCH_SIZES, *RESNETS) else "token"


BACKBONE_NAMES: tuple[str, ...] = (*PRETRAINED, *DESCRIPTOR_PATCH_SIZES)
