"""From a name to a ready backbone."""

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segtricks.backbones.affinity import affinity_of
from segtricks.backbones.base import Backbone
from segtricks.backbones.registry import BACKBONE_NAMES, DESCRIPTOR_PATCH_SIZES, PRETRAINED, RESNETS, VIT_OPTIONS
from segtricks.errors import UserError, path_hint
from segtricks.words import FEATURES

if TYPE_CHECKING:
    from timm.models.eva import Eva
    from timm.models.resnet import ResNet
    from timm.models.vision_transformer import VisionTransformer

_POS_INTERPS = ("dino", "timm", "selfmask")
_DEFAULTS = {"checkpoint": (None,), "feature": ("key", "token"), "layer": (-1,)}
"""What the methods ask for where the user asks for nothing."""
_VIT_MODULES = ("vision_transformer", "eva")  # of timm
_NAMES_HINT = f"Short names: {', '.join(BACKBONE_NAMES)}; or timm's name of a ViT, as vit_small_patch16_224.dino."


def create_backbone(
    name: str,
    pretrained: bool = True,
    checkpoint: str | Path | None = None,
    feature: str = "key",
    layer: int = -1,
    *,
    pos_interp: str = "dino",
) -> Backbone:
    """A frozen backbone: normalised images (B, 3, H, W) to features (B, feature_dim, H / p, W / p).

    Args:
        name: A short name (``dino_vits8``, ``dinov2_vits14_reg``, ``dinov3_vits16``, ``moco_resnet50``, …; all are in
            ``BACKBONE_NAMES``); timm's own name of a ``VisionTransformer`` or ``Eva``
            (``vit_small_patch14_dinov2.lvd142m``; it gets ImageNet's normalisation, even if trained with another);
            ``descriptor``, which needs no weights; or ``package.module:Name``, your own :class:`Backbone` (or a
            function that returns one), called with those of the other arguments that it takes.
        pretrained: Take the weights from the first source that has them, see
            :func:`segtricks.backbones.sources.load_pretrained`. False leaves them random: for tests and parameter
            counts.
        checkpoint: Weight file to load instead (``.pth`` or ``.safetensors``), whatever ``pretrained`` says; see
            :func:`segtricks.backbones.weights.load_checkpoint` for the layouts.
        feature: ``key``, ``query``, ``value`` of the layer's attention (before any rotary embedding), or ``token``,
            its output through the final norm. Which ones suit a network and a method:
            :mod:`segtricks.backbones.affinity`.
        layer: Layer from 0, or from the end with -1. Later ones are not computed.
        pos_interp: How trained position embeddings reach another grid. ``dino``: as DINO, iBOT and DINOv2
            without registers do (bicubic by the factor (n + 0.1) / n0, no antialias); the published heads were
            trained on it. ``timm``: as timm does (bicubic to the size, antialias); so did DINOv2 with registers.
            ``selfmask``: bicubic to the size, no antialias. No difference for models without absolute positions, as
            DINOv3, nor on the trained grid.

    Returns:
        A :class:`Backbone` with ``patch_size``, ``feature_dim`` and ``tau``, its affinity threshold for Sempart: 0.4,
        the paper's, for the keys of DINO and iBOT; the measured one, or else a share of the pairs of patches, for
        others (see :mod:`segtricks.backbones.affinity`). Its ``weights`` says where they came from.

    Raises:
        UserError: Unknown name, no ViT, bad option, weights that cannot be fetched, read or do not fit.
    """
    _check_choice("feature", feature, FEATURES)
    _check_choice("pos_interp", pos_interp, _POS_INTERPS)
    backbone: Backbone
    if name in RESNETS and (feature != "key" or layer != -1):
        raise UserError(f"backbone {name!r} has features of its last stage alone: leave out feature and layer.")
    if name in DESCRIPTOR_PATCH_SIZES:
        if checkpoint is not None or feature != "key" or layer != -1:
            raise UserError(
                f"backbone {name!r} has no weights and no layers: checkpoint, feature and layer do not apply.\n"
                f"Leave them out, or choose one of {', '.join(list(PRETRAINED)[:4])}, …"
            )
        from segtricks.backbones.descriptor import DescriptorBackbone

        backbone = DescriptorBackbone(name, DESCRIPTOR_PATCH_SIZES[name])
    elif ":" in name:
        backbone = _own_backbone(
            name, pretrained=pretrained, checkpoint=checkpoint, feature=feature, layer=layer, pos_interp=pos_interp
        )
    else:
        model, weights = _timm_model(name, pretrained, checkpoint)
        # here, because importing timm takes seconds that the descriptor does not need
        from timm.models.resnet import ResNet

        from segtricks.backbones.resnet import ResNetBackbone
        from segtricks.backbones.vit import ViTBackbone

        tau = affinity_of(name, "sempart", feature, layer).tau
        if isinstance(model, ResNet):
            backbone = ResNetBackbone(model, name, tau)
        else:
            backbone = ViTBackbone(model, name, tau, feature, layer, pos_interp)
        backbone.weights = weights
    return backbone.requires_grad_(False).eval()


def _timm_model(
    name: str, pretrained: bool, checkpoint: str | Path | None
) -> "tuple[VisionTransformer | Eva | ResNet, str]":
    import timm
    from timm.models import is_model_in_modules
    from timm.models.eva import Eva
    from timm.models.resnet import ResNet
    from timm.models.vision_transformer import VisionTransformer

    from segtricks.backbones.sources import load_pretrained
    from segtricks.backbones.weights import OWN_FILE, load_checkpoint

    entry = PRETRAINED.get(name)
    timm_name = entry.timm_name if entry else name
    tagged = timm.list_pretrained(f"{timm_name.split('.')[0]}.*")
    if not timm.is_model(timm_name) or ("." in timm_name and timm_name not in tagged):
        models = [model for module in _VIT_MODULES for model in timm.list_models(module=module)]
        close = get_close_matches(name, [*BACKBONE_NAMES, *models, *tagged], n=3)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise UserError(f"unknown backbone {name!r}.{hint}\n{_NAMES_HINT}")
    if name not in RESNETS and not is_model_in_modules(timm_name, _VIT_MODULES):
        raise _not_a_vit(name)
    if checkpoint is None and pretrained:
        model, weights = load_pretrained(timm_name, name, entry)
    else:
        options = entry.options if entry else VIT_OPTIONS
        model, weights = timm.create_model(timm_name, num_classes=0, **options), "random"
    # TIMM_USE_NAFLEX=1 makes another class of the same name.
    if not isinstance(model, VisionTransformer | Eva | ResNet):
        raise _not_a_vit(name)
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, name)
        weights = f"{OWN_FILE}{Path(checkpoint).name}"
    return model, weights


def _own_backbone(name: str, **arguments: Any) -> Backbone:
    module, _, attribute = name.partition(":")
    try:
        create = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        hint = path_hint(module.split(".")[0])
        raise UserError(f"cannot import backbone {name!r} ({error}).\n{_NAMES_HINT}{hint}") from error
    if not callable(create) or (isinstance(create, type) and not issubclass(create, Backbone)):
        raise UserError(f"backbone {name!r} is not a backbone.\nDerive it from segtricks.backbones.Backbone.")
    try:
        backbone = create(**_taken(create, name, arguments))
    except TypeError as error:
        raise UserError(
            f"backbone {name!r} could not be made: {error}.\n"
            f"It is called with those of {', '.join(arguments)} that it takes, by keyword."
        ) from error
    if not isinstance(backbone, Backbone):
        raise UserError(
            f"backbone {name!r} returned a {type(backbone).__name__}.\nDerive it from segtricks.backbones.Backbone."
        )
    return backbone


def _taken(create: Callable[..., Any], name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a class or function has parameters for.

    Raises:
        UserError: one that was given is not among them, and would have no effect.
    """
    parameters = signature(create).parameters.values()
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return arguments
    taken = {parameter.name for parameter in parameters}
    for option, defaults in _DEFAULTS.items():
        if option not in taken and arguments[option] not in defaults:
            raise UserError(
                f"backbone {name!r} takes no {option}, and got {arguments[option]!r}.\n"
                f"Next: leave it out, or add {option} to the arguments of its __init__."
            )
    return {key: value for key, value in arguments.items() if key in taken}


def _check_choice(option: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise UserError(f"{option} {value!r} is none of {', '.join(legal)}.")


def _not_a_vit(name: str) -> UserError:
    return UserError(f"timm's {name!r} is not a plain ViT (VisionTransformer or Eva): no keys to take.\n{_NAMES_HINT}")
