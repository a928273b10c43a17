"""Training-free methods: patch features in, masks of objects out."""

from segtricks.discovery.deep_spectral import DeepSpectralResult, deep_spectral
from segtricks.discovery.eigen import Spectrum, smallest_eigenvectors
from segtricks.discovery.found import FoundResult, found_background
from segtricks.discovery.inputs import mask_boxes
from segtricks.discovery.lost import LostResult, lost
from segtricks.discovery.maskcut import MaskCutResult, mask_contrast, maskcut
from segtricks.discovery.prototypes import PrototypeClusters, cluster_prototypes, pool_regions
from segtricks.discovery.spectral_clusters import spectral_affinity, spectral_clusters
from segtricks.discovery.tokencut import TokenCutResult, tokencut
from segtricks.discovery.voting import Vote, vote_mask

__all__ = [
    "DeepSpectralResult",
    "FoundResult",
    "LostResult",
    "MaskCutResult",
    "PrototypeClusters",
    "Spectrum",
    "TokenCutResult",
    "Vote",
    "cluster_prototypes",
    "deep_spectral",
    "found_background",
    "lost",
    "mask_boxes",
    "mask_contrast",
    "maskcut",
    "pool_regions",
    "smallest_eigenvectors",
    "spectral_affinity",
    "spectral_clusters",
    "tokencut",
    "vote_mask",
]
