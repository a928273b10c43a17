"""The one table of measures: what each is called, which way is better, and where it is shown. It needs no torch."""

from typing import NamedTuple


class Measure(NamedTuple):
    """A measure of masks.

    Args:
        name: its key in result files and tables.
        title: its column in tables for people.
        lower_is_better: as of an error.
        headline: whether the short table at the end of ``fit`` and ``test`` shows it.
        per_image: whether a single image has a value; the others are of curves over all images.
        boxes: whether it is measured with boxes, and not with masks.
    """

    name: str
    title: str
    lower_is_better: bool = False
    headline: bool = False
    per_image: bool = True
    boxes: bool = False


_ALL = (
    Measure("acc", "acc", headline=True),
    Measure("iou", "IoU", headline=True),
    Measure("max_fbeta", "max F", headline=True),
    Measure("mean_fbeta", "mean F", per_image=False),
    Measure("adaptive_fbeta", "adp F"),
    Measure("weighted_fbeta", "w F"),
    Measure("mae", "MAE", lower_is_better=True),
    Measure("s_measure", "S"),
    Measure("e_measure_max", "E max", per_image=False),
    Measure("e_measure_mean", "E mean", per_image=False),
    Measure("e_measure_adaptive", "E adp"),
    Measure("corloc", "CorLoc", headline=True, boxes=True),
)

MEASURES = {measure.name: measure for measure in _ALL}
"""Every measure by name, in the order of tables."""

MASK_MEASURES = tuple(measure.name for measure in _ALL if not measure.boxes)
IMAGE_MEASURES = tuple(measure.name for measure in _ALL if measure.per_image and not measure.boxes)
HEADLINES = tuple(measure.name for measure in _ALL if measure.headline)


def title(name: str) -> str:
    """Return a measure's column title; a name that is not in the table is its own."""
    return MEASURES[name].title if name in MEASURES else name
