"""Every choice that changes a number of the scores of instances and panoptic maps, in one frozen record."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from segtricks.errors import UserError
from segtricks.metrics.matching import Matching


@dataclass(frozen=True)
class PanopticProtocol:
    """How detections and stuff are scored; written whole into every result.

    AP and AR take all classes as one, and need no mapping. For PQ and mIoU, clusters become classes by the truth of
    some images, things and stuff apart.

    Args:
        name: the protocol's name.
        mapping: ``hungarian`` gives each class to one cluster at most, by the pixels that they share, and what is left
            over stays wrong; ``majority`` gives each cluster the class that most of its detections vote for, so that
            any number of clusters take one class, and leaves out those without a vote.
        mapped_on: whose truth that is: of the images that are ``scored``, or of others to ``train`` on.
        mapping_set: the name of these others.
        join_stuff: take all segments of a class of stuff in the truth of an image as one.
        drop_unmapped: leave the pixels without a predicted class out of mIoU; they are else wrong.
        min_score: of a detection in the panoptic map.
        max_overlap: share of a detection that others may have taken.
        min_stuff_area: pixels of a segment of stuff, at the photograph's own size.
        vote_score: of a detection that votes.
        vote_iou: of a detection's box and what it votes for.
        vote_stuff_iou: of a segment of stuff and all pixels of the class it votes for.
        max_detections: of an image, by score.
    """

    name: str = "strict"
    mapping: Matching = "hungarian"
    mapped_on: Literal["scored", "train"] = "scored"
    mapping_set: str | None = None
    join_stuff: bool = True
    drop_unmapped: bool = False
    min_score: float = 0.5
    max_overlap: float = 0.5
    min_stuff_area: int = 4096
    vote_score: float = 0.6
    vote_iou: float = 0.7
    vote_stuff_iou: float = 0.15
    max_detections: int = 100

    def as_dict(self) -> dict[str, Any]:
        """Return every choice as plain data."""
        return dataclasses.asdict(self) | {"area": "pixels of the mask"}


PROTOCOLS = {
    "strict": PanopticProtocol(),
    # What U2Seg's authors call Hungarian matching. Its fault: the more clusters, the better the score, for each takes
    # the class that suits it. (Their semantic score also renames clusters one after the other, in place, so that one
    # may be renamed twice; that score is not here.)
    "u2seg": PanopticProtocol(name="u2seg", mapping="majority", join_stuff=False, drop_unmapped=True),
    # As strict, without a look at the truth that is scored.
    "train": PanopticProtocol(name="train", mapped_on="train"),
}
"""Named protocols; ``u2seg`` is the published one."""


def get_panoptic_protocol(name: str, **choices: Any) -> PanopticProtocol:
    """Return a protocol with some of its choices changed; a ``UserError`` for an unknown name."""
    if name not in PROTOCOLS:
        raise UserError(f"Unknown protocol {name!r} of instances. Allowed: {', '.join(PROTOCOLS)}.")
    return dataclasses.replace(PROTOCOLS[name], **choices)
