"""One HTML page to look at clusters of masks: pictures of each, and its size."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segtricks.data.images import UnreadableImage, read_image
from segtricks.parallel import in_threads
from segtricks.pseudo_labels.clusters import Clusters, Member
from segtricks.pseudo_labels.pictures import css, jpeg, write_html

_SIDE = 150  # pixels of the pictures
_MARGIN = 0.15  # around the mask, of its box
_FADED = 0.6  # towards white, outside of the mask


def write_cluster_page(
    clusters: Clusters, names: Mapping[int, str], classes: Mapping[int, int], path: Path, limit: int = 24
) -> None:
    """Write a page without scripts or further files.

    Args:
        clusters: the masks.
        names: of each cluster.
        classes: the class of each cluster that has one, which decides its colour.
        path: file to write.
        limit: pictures of a cluster; of more masks, as many are chosen evenly from the nearest to its middle to the
            farthest.
    """
    sections = []
    for cluster in np.argsort(-np.array(clusters.sizes()), kind="stable") + 1:
        number = int(cluster)
        members = clusters.of(number)
        sections.append(
            {
                "cluster": number,
                "name": names[number],
                "colour": css(classes[number]) if number in classes else "none",
                "masks": len(members),
                "photographs": len({member.photograph for member in members}),
                "pictures": _pictures(_spread(members, limit)),
            }
        )
    write_html(
        path,
        "clusters.html.j2",
        title=f"{clusters.count} clusters of {len(clusters.members):,} masks",
        sections=sections,
    )


def _spread(members: list[Member], limit: int) -> list[Member]:
    places = np.linspace(0, len(members) - 1, min(limit, len(members))).round().astype(int)
    return [members[place] for place in places]


def _pictures(members: Sequence[Member]) -> list[dict[str, Any]]:
    found = in_threads(_picture, members, min(4, os.cpu_count() or 1), None)
    return [
        {"name": member.photograph.name, "data": data}
        for member, data in zip(members, found, strict=True)
        if data is not None
    ]


def _picture(member: Member) -> str | None:
    """The box of a mask and a margin, faded outside of the mask; None where the photograph cannot be read."""
    mask = member.entry.masks[member.place]
    try:
        photograph = read_image(member.photograph).permute(1, 2, 0).numpy()
        inside = member.entry.array(member.place)
    except UnreadableImage:
        return None
    left, top, right, bottom = mask.box
    margin = round(_MARGIN * max(right - left, bottom - top))
    rows = slice(max(0, top - margin), bottom + margin)
    columns = slice(max(0, left - margin), right + margin)
    cut = photograph[rows, columns]
    faded = (1 - _FADED) * cut + _FADED * 255
    picture = Image.fromarray(np.where(inside[rows, columns, None], cut, faded).round().astype(np.uint8))
    picture.thumbnail((_SIDE, _SIDE))
    return jpeg(picture)
