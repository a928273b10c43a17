"""STEGO's head, and the probe that clusters its codes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize, one_hot, softmax


class StegoHead(nn.Module):
    """A linear map of patch features to codes, plus one with a hidden layer.

    In training each of the two sees the features without some channels, drawn separately.

    Args:
        feature_dim: channels of the features.
        code_dim: channels of the codes.
        dropout: share of the channels.

    Source: Hamilton et al., "Unsupervised Semantic Segmentation by Distilling Feature Correspondences", ICLR 2022.
    """

    def __init__(self, feature_dim: int = 384, code_dim: int = 70, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.linear = nn.Conv2d(feature_dim, code_dim, 1)
        self.nonlinear = nn.Sequential(
            nn.Conv2d(feature_dim, feature_dim, 1),
            nn.ReLU(),
            nn.Conv2d(feature_dim, code_dim, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, feature_dim, h, w) to codes (B, code_dim, h, w)."""
        code: Tensor = self.linear(self.dropout(features)) + self.nonlinear(self.dropout(features))
        return code


class ClusterAssignment(NamedTuple):
    """``loss``, a scalar, and ``probabilities`` (B, K, h, w) of the clusters."""

    loss: Tensor
    probabilities: Tensor


class ClusterProbe(nn.Module):
    """Cluster centres that are learned by the cosine of codes with them. Pass codes that are detached.

    Args:
        code_dim: channels C of the codes.
        num_clusters: K.

    Source: as :class:`StegoHead`.
    """

    def __init__(self, code_dim: int, num_clusters: int) -> None:
        super().__init__()
        self.clusters = nn.Parameter(torch.randn(num_clusters, code_dim))

    def forward(self, code: Tensor, alpha: float | None = None) -> ClusterAssignment:
        """Return minus the mean cosine of codes with their clusters, and the clusters.

        Args:
            code: (B, C, h, w).
            alpha: probabilities are the softmax of ``alpha`` times the cosines; None takes the nearest cluster.
        """
        cosines = self._cosines(code)
        if alpha is None:
            probabilities = one_hot(cosines.argmax(dim=1), cosines.shape[1]).movedim(-1, 1).to(cosines)
        else:
            probabilities = softmax(alpha * cosines, dim=1)
        return ClusterAssignment(-(probabilities * cosines).sum(dim=1).mean(), probabilities)

    def log_probabilities(self, code: Tensor, alpha: float = 2) -> Tensor:
        """Return the logarithm of the softmax of ``alpha`` times the cosines, (B, K, h, w)."""
        return log_softmax(alpha * self._cosines(code), dim=1)

    def _cosines(self, code: Tensor) -> Tensor:
        with torch.autocast(code.device.type, enabled=False):
            code = normalize(code.to(self.clusters.dtype), dim=1)
            return torch.einsum("bchw,kc->bkhw", code, normalize(self.clusters, dim=1))
