"""Which features and threshold make a good graph of patches, by backbone and method.

A threshold of ``share:X`` is the cosine above which a share X of all pairs of patches lies; it fits networks that
nobody has measured. Measured are DINO and iBOT, by the papers of the methods, and the backbones of ``MEASURED``, in
``experiments/affinity``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Affinity:
    """Features that patches are compared by, and where they count as alike.

    Attributes:
        feature: ``key``, ``query``, ``value`` or ``token``.
        layer: from 0, or from the end with -1.
        tau: cosine, or ``share:X``.
    """

    feature: str
    layer: int
    tau: float | str


METHODS = ("sempart", "tokencut", "lost", "deep_spectral", "found", "maskcut")

_PAPER_TAU = {"sempart": 0.4, "tokencut": 0.2, "lost": 0.0, "deep_spectral": 0.0, "found": 0.3, "maskcut": 0.15}
_PAPER = {method: Affinity("key", -1, tau) for method, tau in _PAPER_TAU.items()}
_SHARES = {"sempart": 0.6, "tokencut": 0.6, "lost": 0.7, "deep_spectral": 0.7, "found": 0.6, "maskcut": 0.6}
_UNMEASURED_TAU = {method: f"share:{share}" for method, share in _SHARES.items()}
"""What did best, or nearly so, with every feature of ``dinov2_vits14``."""

MEASURED: dict[str, dict[str, Affinity]] = {
    "dinov2_vits14": {
        "sempart": Affinity("query", -1, 0.4),
        "tokencut": Affinity("query", -1, 0.3),
        "lost": Affinity("query", -1, 0.3),
        "deep_spectral": Affinity("token", -1, 0.5),
        "maskcut": Affinity("query", -1, 0.3),  # tokencut's: it makes the same cuts
    },
}
"""By backbone and method; ``found`` takes keys in any case."""

_LIKE_DINO = ("dino_", "ibot_", "descriptor")
_DINO_TAGS = (".dino",)


def affinity_of(
    backbone: str, method: str = "sempart", feature: str | None = None, layer: int | None = None
) -> Affinity:
    """Return features, layer and threshold of a method on a backbone; what is given beats the default.

    The measured threshold belongs to the measured features: with others, or a backbone nobody measured, it is a share.

    Args:
        backbone: a short name or timm's.
        method: one of ``METHODS``.
        feature: what the user chose; None leaves it to the backbone.
        layer: the same.
    """
    known = _known(backbone, method)
    default = known or Affinity("key", -1, _UNMEASURED_TAU[method])
    chosen = Affinity(feature or default.feature, default.layer if layer is None else layer, default.tau)
    if known is None or (chosen.feature, chosen.layer) != (known.feature, known.layer):
        return Affinity(chosen.feature, chosen.layer, _UNMEASURED_TAU[method])
    return chosen


def _known(backbone: str, method: str) -> Affinity | None:
    if backbone.startswith(_LIKE_DINO) or backbone.endswith(_DINO_TAGS):
        return _PAPER[method]
    return MEASURED.get(backbone, {}).get(method)
