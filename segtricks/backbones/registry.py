"""The short names: which timm model each stands for, its threshold, and the official file of its weights.

Where each ``tau`` comes from:

* DINO and iBOT: 0.4, the value of the paper (arXiv 2404.03392) for these keys and this loss.
* DINOv2 and DINOv3: **not measured**. No value is published for this loss with these keys, and none could be
  tuned where this was written (no weights at hand). They keep 0.4, so that a run starts; their keys have another
  spread of cosines, so sweep ``tau`` before trusting a result.
* Other timm models: 0.4, for want of anything better.
* ``descriptor``: measured, see :mod:`segtricks.backbones.descriptor`.
"""

from dataclasses import dataclass

PAPER_TAU = 0.4
UNMEASURED_TAU = 0.4
DEFAULT_TAU = 0.4


@dataclass(frozen=True)
class Pretrained:
    """What a short name stands for.

    Attributes:
        timm_name: Model (and weights tag) in timm's spelling.
        tau: Default affinity threshold; the module's docstring says where each comes from.
        official: File name of the weights that the authors released.
        repository: Where the authors link that file.
        url: Address of the file itself, for weights that timm's hub does not have; None for those it has.
    """

    timm_name: str
    tau: float
    official: str
    repository: str
    url: str | None = None


def _dino(timm_name: str, official: str) -> Pretrained:
    return Pretrained(f"{timm_name}_224.dino", PAPER_TAU, official, "https://github.com/facebookresearch/dino")


def _ibot(timm_name: str, folder: str) -> Pretrained:
    file = "checkpoint_teacher.pth"
    url = f"https://lf3-nlp-opensource.bytetos.com/obj/nlp-opensource/archive/2022/ibot/{folder}/{file}"
    return Pretrained(f"{timm_name}_224", PAPER_TAU, file, "https://github.com/bytedance/ibot", url)


def _dinov2(timm_name: str, official: str) -> Pretrained:
    repository = "https://github.com/facebookresearch/dinov2"
    return Pretrained(f"{timm_name}_dinov2.lvd142m", UNMEASURED_TAU, f"{official}_pretrain.pth", repository)


def _dinov3(timm_name: str, official: str) -> Pretrained:
    repository = "https://github.com/facebookresearch/dinov3"
    return Pretrained(f"{timm_name}_dinov3.lvd1689m", UNMEASURED_TAU, official, repository)


PRETRAINED: dict[str, Pretrained] = {
    "dino_vits8": _dino("vit_small_patch8", "dino_deitsmall8_pretrain.pth"),
    "dino_vits16": _dino("vit_small_patch16", "dino_deitsmall16_pretrain.pth"),
    "dino_vitb8": _dino("vit_base_patch8", "dino_vitbase8_pretrain.pth"),
    "dino_vitb16": _dino("vit_base_patch16", "dino_vitbase16_pretrain.pth"),
    "ibot_vits16": _ibot("vit_small_patch16", "vits_16"),
    "ibot_vitb16": _ibot("vit_base_patch16", "vitb_16"),
    "ibot_vitl16": _ibot("vit_large_patch16", "vitl_16"),
    "dinov2_vits14": _dinov2("vit_small_patch14", "dinov2_vits14"),
    "dinov2_vits14_reg": _dinov2("vit_small_patch14_reg4", "dinov2_vits14_reg4"),
    "dinov2_vitb14": _dinov2("vit_base_patch14", "dinov2_vitb14"),
    "dinov2_vitb14_reg": _dinov2("vit_base_patch14_reg4", "dinov2_vitb14_reg4"),
    "dinov2_vitl14": _dinov2("vit_large_patch14", "dinov2_vitl14"),
    "dinov2_vitl14_reg": _dinov2("vit_large_patch14_reg4", "dinov2_vitl14_reg4"),
    "dinov3_vits16": _dinov3("vit_small_patch16", "dinov3_vits16_pretrain_lvd1689m-08c60483.pth"),
    "dinov3_vits16plus": _dinov3("vit_small_plus_patch16", "dinov3_vits16plus_pretrain_lvd1689m-4057cbaa.pth"),
    "dinov3_vitb16": _dinov3("vit_base_patch16", "dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth"),
    "dinov3_vitl16": _dinov3("vit_large_patch16", "dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth"),
}

DESCRIPTOR_PATCH_SIZES: dict[str, int] = {"descriptor": 8, "descriptor16": 16, "descriptor4": 4}

BACKBONE_NAMES: tuple[str, ...] = (*PRETRAINED, *DESCRIPTOR_PATCH_SIZES)
