"""What a run found out by itself: where its weights come from, its threshold, its sign."""

from typing import Any

from segtricks.backbones import Backbone
from segtricks.backbones.fingerprint import fingerprint
from segtricks.backbones.weights import OWN_FILE
from segtricks.methods.base import SegmentationModule, weights_of


def provenance(module: SegmentationModule) -> dict[str, Any]:
    """Return plain data: ``weights`` in words; of a trained method also ``tau`` as a cosine, and ``inverted``.

    ``inverted`` says whether the head's foreground is the background, None while that is unknown. A backbone whose
    weights are the user's own file has ``fingerprint`` as well, by which they are known again if the file moved.
    Methods add the numbers of their pseudo-labels. What does not apply to the method is left out.
    """
    found: dict[str, Any] = {"weights": weights_of(module)}
    backbone = getattr(module, "backbone", None)
    if found["weights"].startswith(OWN_FILE) and isinstance(backbone, Backbone) and backbone.frozen:
        found["fingerprint"] = fingerprint(backbone)
    if (tau := getattr(module, "affinity_threshold", None)) is not None:
        found["tau"] = round(float(tau), 6)
    if (sign := getattr(module, "sign", None)) is not None:
        found["inverted"] = sign.inverted if sign.known else None
    return found | module.counts
