"""Named evaluation protocols: every choice that changes a number, in one frozen record."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from torch import Tensor
from torch.nn.functional import interpolate

from segtricks.data.transforms import CenterCropTransform
from segtricks.errors import UserError
from segtricks.metrics.polarity import background_evidence
from segtricks.words import Polarity, Select

_BATCH = 8  # of a polarity per batch, where the protocol does not say


@dataclass(frozen=True)
class Protocol:
    """How predictions and targets become numbers; written whole into every result.

    Args:
        name: the protocol's name, with the choices that were changed.
        resolution: ``target`` scores at the target's own size; ``crop`` at the model's, on a resized centre crop.
        interpolation: how a prediction of another size is brought to the target's.
        polarity: which masks are inverted: those of an ``image`` whose mean exceeds 0.5, or its mean along the
            ``border``; a whole ``batch`` by the batch's mean; or ``none``.
        bn_mode: ``eval`` uses the running statistics; ``batch`` those of the test batch, as the first code did.
        stretch: stretch every map to 0..1 by its own minimum and maximum first.
        components: ``all``, or only the ``largest`` 4-connected component of ``pred > threshold``; the map is 0
            elsewhere.
        threshold: accuracy and IoU count ``pred > threshold``.
        target_threshold: and ``target > target_threshold`` (0 to 1; 0.5 is ≥ 128 of 255).
        f_target_threshold: the same for the F-measure.
        beta2: β² of the F-measure.
        f_compare: foreground at the k-th threshold is ``above`` it, ``pred > k/255`` for k = 0..254, or ``level``,
            ``floor(255 pred) >= k`` for k = 0..255.
        f_average: maximum and mean F over thresholds are those of the mean F of the ``images`` at each; of the F of
            mean ``precision_recall``; or, for the maximum, the mean of each image's ``own_maximum``.
        f_empty: the precision of an empty prediction and the recall of an empty target.
        iou_empty: an image empty in prediction and target is ``left_out`` of the IoU, or counts ``zero``.
        select: which component of a mask gives its box for CorLoc: the one of ``largest_bbox`` or ``largest_area``, or
            the one that holds the ``seed``, the mask's largest value.
        resize: short side in pixels before the crop, for ``crop``.
        size: side of the crop, for ``crop``.
        batch_size: images per batch, where polarity or batch norm depend on it.
    """

    name: str
    resolution: Literal["target", "crop"] = "target"
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    polarity: Polarity = "image"
    bn_mode: Literal["eval", "batch"] = "eval"
    stretch: bool = False
    components: Literal["all", "largest"] = "all"
    threshold: float = 0.5
    target_threshold: float = 0.5
    f_target_threshold: float = 0.5
    beta2: float = 0.3
    f_compare: Literal["above", "level"] = "above"
    f_average: Literal["images", "precision_recall", "own_maximum"] = "images"
    f_empty: float = 1.0
    iou_empty: Literal["left_out", "zero"] = "left_out"
    select: Select = "largest_bbox"
    resize: int | None = None
    size: int | None = None
    batch_size: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return every choice as plain data."""
        return dataclasses.asdict(self)

    @property
    def crop(self) -> CenterCropTransform | None:
        """The middle of photographs, targets and whole predictions that is scored; None where all of it is."""
        if self.resolution != "crop" or self.size is None:
            return None
        return CenterCropTransform(self.size, self.resize)

    @property
    def turned_together(self) -> int:
        """How many masks, in their order, share one decision about polarity."""
        return (self.batch_size or _BATCH) if self.polarity == "batch" else 1

    def turn(self, masks: Sequence[Tensor]) -> list[Tensor]:
        """Return masks (1, 1, H, W) of any sizes, those inverted that the polarity takes for the background's."""
        if self.polarity == "none" or not masks:
            return list(masks)
        evidence = [float(background_evidence(mask, self.polarity)) for mask in masks]
        if self.polarity == "batch":
            evidence = [sum(evidence) / len(evidence)] * len(evidence)
        return [1 - mask if found > 0.5 else mask for mask, found in zip(masks, evidence, strict=True)]

    def fit(self, mask: Tensor, size: tuple[int, ...]) -> Tensor:
        """Resize a mask (1, 1, h, w) to ``size``, height and width."""
        return fit(mask, size, self.interpolation)


def fit(mask: Tensor, size: tuple[int, ...], interpolation: str = "bilinear") -> Tensor:
    """Resize masks (B, 1, h, w) to ``size``, height and width, ``bilinear`` or ``nearest``."""
    if mask.shape[-2:] == size:
        return mask
    corners = False if interpolation == "bilinear" else None
    return interpolate(mask, size=size, mode=interpolation, align_corners=corners)


_FULL = 254.5 / 255  # above it lies 255 alone

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("fullres", polarity="none"),
        Protocol(
            "two-tricks",
            resolution="crop",
            polarity="batch",
            bn_mode="batch",
            f_target_threshold=0.0,
            resize=335,
            size=320,
            batch_size=8,
        ),
        Protocol("tokencut", interpolation="nearest", target_threshold=0.0, f_target_threshold=0.0),
        Protocol("sod", stretch=True, f_compare="level", f_average="precision_recall", f_empty=0.0),
        Protocol(
            "found-single",
            components="largest",
            target_threshold=_FULL,
            f_target_threshold=_FULL,
            beta2=0.09,
            f_average="own_maximum",
        ),
        Protocol("found-multi", target_threshold=_FULL, f_target_threshold=_FULL, beta2=0.09, f_average="own_maximum"),
        Protocol(
            "selfmask",
            polarity="none",
            target_threshold=0.0,
            f_target_threshold=0.0,
            beta2=0.09,
            f_average="own_maximum",
            f_empty=0.0,
            iou_empty="zero",
        ),
        Protocol("move"),
    )
}


def get_protocol(spec: str, **defaults: Any) -> Protocol:
    """Return a protocol by name, with choices changed where the name goes on: ``sod:f_average=images,beta2=1``.

    Args:
        spec: name, then perhaps a colon and ``choice=value`` pairs.
        defaults: choices that differ from the named protocol's unless ``spec`` sets them.

    Raises:
        UserError: if there is no such protocol, choice or value; the message lists the allowed ones.
    """
    name, _, rest = spec.partition(":")
    if name not in PROTOCOLS:
        raise UserError(f"Unknown protocol {name!r}. Allowed: {', '.join(PROTOCOLS)}.")
    changes = dict(_choice(name, pair) for pair in rest.split(",") if pair)
    return dataclasses.replace(PROTOCOLS[name], **{"name": spec.rstrip(":"), **defaults, **changes})


def _choice(protocol: str, pair: str) -> tuple[str, Any]:
    key, _, text = pair.partition("=")
    kinds = get_type_hints(Protocol)
    del kinds["name"]
    if key not in kinds:
        raise UserError(f"Unknown choice {key!r} of protocol {protocol}. Allowed: {', '.join(kinds)}.")
    legal = get_args(kinds[key])
    try:
        if kinds[key] is bool:
            return key, {"true": True, "false": False}[text.lower()]
        if kinds[key] is float:
            return key, float(text)
        if int in legal:
            return key, int(text)
        if text in legal:
            return key, text
    except (KeyError, ValueError):
        pass
    kind = "true or false" if kinds[key] is bool else "a number" if kinds[key] is float else "a whole number"
    allowed = " or ".join(legal) if legal and int not in legal else kind
    raise UserError(f"{key} must be {allowed}, got {text!r}: write --protocol {protocol}:{key}=VALUE.")
