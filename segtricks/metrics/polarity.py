"""Which side of a mask is the object: by the mask's mean, or by its mean along the image's border."""

import torch
from torch import Tensor

_RING = 0.02  # width of the border as a share of the short side


def border_mean(prob: Tensor) -> Tensor:
    """Mean of masks (B, 1, H, W) along the border of their images, (B,): a ring of 2 % of the short side.

    What a photograph is of seldom fills its border, however large it is.
    """
    height, width = prob.shape[-2:]
    ring = max(1, round(_RING * min(height, width)))
    if min(height, width) <= 2 * ring:
        return prob.mean(dim=(1, 2, 3))
    inner = prob[..., ring:-ring, ring:-ring]
    count = height * width - inner.shape[-2] * inner.shape[-1]
    return (prob.sum(dim=(1, 2, 3)) - inner.sum(dim=(1, 2, 3))) / count


def background_evidence(prob: Tensor, polarity: str) -> Tensor:
    """Return (B,): above 0.5, the rule takes a mask (B, 1, H, W) for the background's.

    ``border``: its mean along the border; ``image`` and ``batch``: its mean. A batch's is the mean over its images.
    """
    return border_mean(prob) if polarity == "border" else prob.mean(dim=(1, 2, 3))


def apply_polarity(prob: Tensor, polarity: str) -> Tensor:
    """Return masks ``prob`` (B, 1, H, W) in [0, 1] with those inverted that a rule takes for the background's.

    Args:
        prob: the masks.
        polarity: ``image`` inverts a mask whose mean exceeds 0.5, ``border`` one whose mean along the border does,
            ``batch`` all where the batch's mean does, ``none`` inverts nothing.
    """
    if polarity == "none":
        return prob
    evidence = background_evidence(prob, polarity)
    if polarity == "batch":
        evidence = evidence.mean().expand(len(prob))
    return torch.where((evidence > 0.5)[:, None, None, None], 1 - prob, prob)
