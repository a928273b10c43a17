"""One HTML page to look at pseudo-labels: each photograph and its masks in colours."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from segtricks.data.images import UnreadableImage, read_image
from segtricks.data.label_entry import Entry
from segtricks.data.label_store import Store
from segtricks.pseudo_labels.pictures import css, jpeg, painted, painted_labels, write_html

_SIDE = 280  # pixels of the pictures
_NAMED = 12  # masks of one photograph that are listed


@dataclass(frozen=True)
class _Labelled:
    """A photograph, its entry, and the pixels of each mask."""

    photograph: Path
    entry: Entry
    areas: list[int]

    @property
    def share(self) -> float:
        """Of the photograph that masks cover; overlaps count twice."""
        return sum(self.areas) / (self.entry.height * self.entry.width)


def write_page(
    store: Store, photographs: Sequence[Path], path: Path, root: Path | None = None, limit: int = 100
) -> None:
    """Write a page without scripts or further files: pictures, sizes and scores of the masks, and their counts.

    Args:
        store: the pseudo-labels.
        photographs: their photographs; those without an entry are counted.
        path: file to write.
        root: see :meth:`Store.match`.
        limit: photographs to show; of more, as many are chosen evenly from the smallest to the largest share of masks.
    """
    matched = store.match(photographs, root)
    labelled, damaged = _read(store, matched)
    labelled.sort(key=lambda item: item.share)
    shown = list(_cards(_spread(labelled, limit), damaged))
    masks = [mask for item in labelled for mask in item.entry.masks]
    classes = Counter(mask.class_id for mask in masks if mask.class_id is not None)
    write_html(
        path,
        "page.html.j2",
        title=f"Pseudo-labels: {store.path.name}",
        source=store.index.get("source", {}),
        counts=_counts(labelled, damaged, len(photographs) - len(matched)),
        classes=[(number, count, css(number)) for number, count in sorted(classes.items())],
        damaged=damaged,
        cards=shown,
        total=len(labelled),
    )


def _read(store: Store, matched: dict[Path, str]) -> tuple[list[_Labelled], list[str]]:
    """All entries that can be read, and what is wrong with the others."""
    labelled, damaged = [], []
    for photograph, name in tqdm(matched.items(), desc="page", unit=" images", disable=None, leave=False, delay=2):
        try:
            entry = store.entry(name)
            labelled.append(_Labelled(photograph, entry, entry.areas()))
        except UnreadableImage as error:
            damaged.append(f"{name}: {error.reason}")
    return labelled, damaged


def _spread(labelled: list[_Labelled], limit: int) -> list[_Labelled]:
    """As many as ``limit``, evenly from the first to the last."""
    places = np.linspace(0, len(labelled) - 1, min(limit, len(labelled))).round().astype(int)
    return [labelled[place] for place in places]


def _counts(labelled: list[_Labelled], damaged: list[str], missing: int) -> list[tuple[str, int]]:
    areas = [(area, item.entry.height * item.entry.width) for item in labelled for area in item.areas]
    return [
        ("photographs with an entry", len(labelled)),
        ("photographs without an entry", missing),
        ("damaged entries", len(damaged)),
        ("masks", len(areas)),
        ("photographs without foreground", sum(not any(item.areas) for item in labelled)),
        ("masks of everything", sum(area == pixels for area, pixels in areas)),
    ]


def _cards(shown: list[_Labelled], damaged: list[str]) -> Iterator[dict[str, Any]]:
    """What the template shows of each photograph; one that cannot be read joins the damaged ones."""
    for item in shown:
        entry = item.entry
        try:
            photograph = read_image(item.photograph).permute(1, 2, 0).numpy()
            arrays, labels = entry.arrays(), entry.read_labels()
        except UnreadableImage as error:
            damaged.append(f"{entry.name}: {error.reason}")
            continue
        small = Image.fromarray(photograph)
        small.thumbnail((_SIDE, _SIDE))
        colours = [_number(entry, place) for place in range(len(entry.masks))]
        pictures = [("photograph", jpeg(small)), ("masks", jpeg(painted(small, arrays, colours)))]
        if labels is not None:
            pictures.append(("label map", jpeg(painted_labels(small, labels))))
        yield {
            "name": entry.image or entry.name,
            "size": f"{entry.width} x {entry.height}",
            "pictures": pictures,
            "masks": [_line(item, place) for place in range(min(len(entry.masks), _NAMED))],
            "more": max(0, len(entry.masks) - _NAMED),
        }


def _line(item: _Labelled, place: int) -> dict[str, Any]:
    mask = item.entry.masks[place]
    share = item.areas[place] / (item.entry.height * item.entry.width)
    return {"colour": css(_number(item.entry, place)), "share": share, "score": mask.score, "class_id": mask.class_id}


def _number(entry: Entry, place: int) -> int:
    """What the colour of a mask stands for: its class, or its place where it has none."""
    class_id = entry.masks[place].class_id
    return place if class_id is None else class_id
