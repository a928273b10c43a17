"""Every choice that changes a number of the semantic evaluation, in one frozen record."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from segtricks.errors import UserError

VOC_SEVEN = (1, 5, 6, 7, 8, 10, 15)
"""Aeroplane, bottle, bus, car, cat, cow and person, on which retrieval was published."""


@dataclass(frozen=True)
class SemanticProtocol:
    """How embeddings of foregrounds become label maps; written whole into every result.

    Args:
        name: the protocol's name.
        num_classes: classes of the label maps, with the background as 0.
        foreground: a pixel is foreground where its saliency logit is above it; masks of bool are taken as they are.
        overclusters: a number of clusters to score besides ``clusters``; None for none.
        components: of the whitened PCA, at most: fewer where vectors are shorter or images not more.
        seeds: of PCA and k-means; figures are the means over them.
        retrieval_classes: classes of the shorter retrieval; empty for none.

    Source: Van Gansbeke et al., ICCV 2021, on PASCAL VOC.
    """

    name: str = "maskcontrast"
    num_classes: int = 21
    foreground: float = 0.5
    overclusters: int | None = None
    components: int = 32
    seeds: tuple[int, ...] = (1234, 1235, 1236, 1237, 1238)
    retrieval_classes: tuple[int, ...] = VOC_SEVEN

    @property
    def clusters(self) -> int:
        """Clusters of k-means: one for each class but the background."""
        return self.num_classes - 1

    def as_dict(self) -> dict[str, Any]:
        """Return every choice as plain data."""
        return dataclasses.asdict(self) | {"clusters": self.clusters}

    def check_images(self, count: int) -> None:
        """Raise a ``UserError`` where so many images are too few for the clusters."""
        most = max(self.clusters, self.overclusters or 0)
        if count < most:
            raise UserError(
                f"{count:,} images do not make {most} clusters of one vector each.\n"
                f"Next: pass a test set of at least {most} images."
            )
