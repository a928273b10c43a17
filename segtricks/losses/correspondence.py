"""STEGO's loss: codes of two images are alike where their features are."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

_EPS = 1e-10
_HIGHEST = 0.8


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Return the values of maps at points, bilinearly and with aligned corners, the border beyond it.

    Args:
        maps: (B, C, h, w).
        points: (B, n, m, 2), x and y, -1 and 1 at the centres of the outermost pixels.

    Returns:
        (B, C, n, m).
    """
    return grid_sample(maps, points.to(maps.dtype), mode="bilinear", padding_mode="border", align_corners=True)


def correspondence_loss(
    features: Tensor,
    other_features: Tensor,
    code: Tensor,
    other_code: Tensor,
    shift: float,
    *,
    pointwise: bool = True,
    zero_clamp: bool = True,
    stabilize: bool = False,
) -> Tensor:
    """Return - mean max(c, 0) (f - shift) over all pairs of points, f and c being cosines of features and of codes.

    Cosines of features above ``shift`` draw codes together, those below it draw them apart. The gradient reaches the
    codes alone.

    Args:
        features: (B, D, n, m), sampled (:func:`sample_points`).
        other_features: (B, D, n', m'), of the other images.
        code: (B, C, n, m), at the same points.
        other_code: (B, C, n', m').
        shift: b in the paper.
        pointwise: take off each point's mean cosine with the other image, and keep the mean over all.
        zero_clamp: clamp the cosines of codes at 0 from below.
        stabilize: clamp them at 0.8 from above.

    Source: Hamilton et al., "Unsupervised Semantic Segmentation by Distilling Feature Correspondences", ICLR 2022,
    section 3.2, and its published code.
    """
    alike = feature_cosines(features, other_features, pointwise)
    cosines = _cosines(code, other_code)
    if zero_clamp or stabilize:
        cosines = cosines.clamp(0 if zero_clamp else None, _HIGHEST if stabilize else None)
    return -(cosines * (alike - shift)).mean()


@torch.no_grad()
def feature_cosines(features: Tensor, other_features: Tensor, pointwise: bool = True) -> Tensor:
    """Return f in :func:`correspondence_loss`, (B, n·m, n'·m'), of its first two arguments."""
    alike = _cosines(features, other_features)
    if pointwise:
        mean = alike.mean()
        alike = alike - alike.mean(dim=2, keepdim=True)
        alike = alike - alike.mean() + mean
    return alike


def _cosines(maps: Tensor, others: Tensor) -> Tensor:
    """Cosines of all pairs of points, (B, n·m, n'·m'), float32."""
    with torch.autocast(maps.device.type, enabled=False):
        maps = normalize(maps.float().flatten(2), dim=1, eps=_EPS)
        return maps.mT @ normalize(others.float().flatten(2), dim=1, eps=_EPS)
