"""Figures of one vector an image: k-means with matched clusters, over-clustering, and retrieval.

A label map that is constant on the foreground of each image is scored by the counts of its pixels, see :class:`Region`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segtricks.discovery import cluster_prototypes
from segtricks.metrics.matching import Matching, match_clusters
from segtricks.metrics.retrieval import most_frequent, retrieve_labels
from segtricks.metrics.semantic import semantic_scores
from segtricks.scoring.semantic_protocol import SemanticProtocol


class Region(NamedTuple):
    """What is kept of one image.

    Args:
        name: of the image.
        vector: (D,) float32 of unit length; 0 without a foreground.
        counts: (2, classes) pixels of background and foreground, at the size of the target.
        small_counts: the same at the size of the saliency, as the published retrieval counts.
    """

    name: str
    vector: Tensor
    counts: Tensor
    small_counts: Tensor


class Regions:
    """Regions of equal shapes, one after the other in three long buffers.

    Small tensors of their own would lie in the freed memory of each image's large ones, which then fits no further
    image: the process would grow by a label map an image.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._vectors, self._counts, self._small_counts = bytearray(), bytearray(), bytearray()
        self._shape = torch.Size()

    def append(self, region: Region) -> None:
        """Add one."""
        self._names.append(region.name)
        self._vectors += region.vector.numpy().tobytes()
        self._counts += region.counts.numpy().tobytes()
        self._small_counts += region.small_counts.numpy().tobytes()
        self._shape = region.counts.shape

    def __iter__(self) -> Iterator[Region]:
        """Copies of all, in the order in which they were added."""
        if not self._names:
            return iter(())
        vectors = torch.frombuffer(self._vectors, dtype=torch.float32).view(len(self._names), -1).clone()
        counts, small_counts = (
            torch.frombuffer(buffer, dtype=torch.int64).view(-1, *self._shape).clone()
            for buffer in (self._counts, self._small_counts)
        )
        return map(Region, self._names, vectors, counts, small_counts)


class Clustered(NamedTuple):
    """k-means with one seed: ``labels`` (N,) of the images, and the ``scores`` of :func:`semantic_scores`."""

    labels: Tensor
    scores: dict[str, Tensor]


def kmeans_scores(
    regions: Sequence[Region], num_clusters: int, protocol: SemanticProtocol, how: Matching = "hungarian"
) -> list[Clustered]:
    """Return the scores with each seed of the protocol; a ``UserError`` where images are fewer than clusters."""
    protocol.check_images(len(regions))
    vectors = torch.stack([region.vector for region in regions])
    counts = torch.stack([region.counts for region in regions])
    components = min(protocol.components, len(vectors) - 1, vectors.shape[1])
    found = []
    for seed in protocol.seeds:
        labels = cluster_prototypes(vectors, num_clusters, components, seed).labels
        confusion = _confusion(counts, labels + 1, num_clusters + 1)
        found.append(Clustered(labels, semantic_scores(confusion, match_clusters(confusion, how))))
    return found


def retrieval_scores(
    regions: Sequence[Region], bank: Sequence[Region], classes: Sequence[int]
) -> dict[str, Tensor] | None:
    """Return the scores where each foreground takes the label of the nearest vector of the bank.

    Pixels of other than these classes and the background do not count in either split; images of the bank without a
    pixel of these classes in their foreground are left out.

    Returns:
        As :func:`semantic_scores`; None where nothing of the bank is left.
    """
    columns = [0, *classes]
    vectors, labels = [], []
    for region in bank:
        place = most_frequent(region.small_counts[1, columns], ignore=[0])
        if place is not None:
            vectors.append(region.vector)
            labels.append(place)
    if not vectors:
        return None
    queries = torch.stack([region.vector for region in regions])
    counts = torch.stack([region.small_counts for region in regions])[:, :, columns]
    found = retrieve_labels(queries, torch.stack(vectors), torch.tensor(labels))
    return semantic_scores(_confusion(counts, found, len(columns)), torch.arange(len(columns)))


def _confusion(counts: Tensor, labels: Tensor, num_labels: int) -> Tensor:
    """Counts (labels, classes) of images (N, 2, classes) whose foregrounds have these labels, and background 0."""
    confusion = torch.zeros(num_labels, counts.shape[-1], dtype=counts.dtype)
    confusion[0] = counts[:, 0].sum(dim=0)
    return confusion.index_add_(0, labels, counts[:, 1])
