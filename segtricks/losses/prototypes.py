"""MaskContrast's losses: pixels are drawn to the mean embedding of their object, and from those of other objects."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize, pad


def mask_prototypes(embeddings: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum of each image's embeddings, L2-normalised: (B, D), float32.

    Zero for an image without weight. Embeddings are summed as they are; for those of MaskContrast's objects normalise
    every pixel before.

    Args:
        embeddings: (B, D, H, W).
        weights: (B, 1, H, W), a mask of 0 and 1 or any other weight of a pixel.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        sums = torch.einsum("bdhw,bhw->bd", embeddings.float(), weights[:, 0].float())
        return normalize(sums, dim=1)


def mask_contrastive_loss(
    embeddings: Tensor, masks: Tensor, prototypes: Tensor, negatives: Tensor, temperature: float = 0.5
) -> Tensor:
    """Return the cross entropy of finding the own image's prototype among all, over the foreground pixels.

    The weight of a pixel is 1 / ln(1.02 + share), with its image's share of the foreground pixels of the batch. Where
    there is no foreground, the loss is 0.

    Args:
        embeddings: (B, D, H, W), raw: every pixel is L2-normalised here.
        masks: (B, 1, H, W) of 0 and 1.
        prototypes: (B, D) unit vectors of the same images, each also a negative of the others. They get no gradient.
        negatives: (K, D) further unit vectors, without gradient. K may be 0.
        temperature: divides the inner products.

    Source: Van Gansbeke et al., "Unsupervised Semantic Segmentation by Contrasting Object Mask Proposals", ICCV 2021,
    and its published code.
    """
    inside = masks[:, 0] > 0
    images, rows, columns = inside.nonzero(as_tuple=True)
    with torch.autocast(embeddings.device.type, enabled=False):
        pixels = normalize(embeddings[images, :, rows, columns].float(), dim=1)
        if not len(pixels):
            return pixels.sum()
        candidates = torch.cat([prototypes, negatives]).detach().float()
        counts = inside.flatten(1).sum(1)
        weights = 1 / torch.log(1.02 + counts / counts.sum())
        weights = pad(weights, (0, len(negatives)), value=1.0)  # no pixel belongs to those
        return cross_entropy(pixels @ candidates.T / temperature, images, weights)


def balanced_bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross entropy in which a class weighs as much as the other's share of the batch.

    Args:
        logits: (B, 1, H, W).
        target: (B, 1, H, W) of 0 and 1.
    """
    logits, target = logits.float(), target.float()
    foreground = target.mean()
    weights = torch.where(target > 0.5, 1 - foreground, foreground)
    return binary_cross_entropy_with_logits(logits, target, weights)
