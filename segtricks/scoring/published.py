"""The numbers that "Two Tricks to Improve Unsupervised Segmentation Learning" prints (arXiv 2404.03392), as data.

They stand next to measured ones, in a column of their own, and only where the whole published set was scored. The paper
measures by the protocol ``two-tricks``.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = "arXiv 2404.03392, tables 1 to 5"

_DISCOVERY = {"tokencut": "TokenCut", "lost": "LOST", "deep_spectral": "Deep Spectral"}
_WORDS = {"true": True, "yes": True, "false": False, "no": False}


def published(
    metric: str,
    dataset: str,
    *,
    method: str | None = None,
    backbone: str | None = None,
    crop: bool | None = None,
    guided_filter: bool | None = None,
    bilateral_solver: bool = False,
    selfmask: bool = False,
    table: int | None = None,
) -> float | None:
    """Return a published number in [0, 1]; None if there is none, or several that differ.

    Every label that is given must be the row's own; one left None is not asked for.

    Args:
        metric: ``acc``, ``iou``, ``max_fbeta`` (tables 1 and 5; 3 has IoU alone) or ``corloc`` (2 and 4).
        dataset: ``duts-te``, ``dut-omron``, ``ecssd``, ``voc07``, ``voc12`` or ``coco20k``, whole.
        method: ``Sempart`` as the paper trains it (both tricks: ``crop=True, guided_filter=True``),
            ``Sempart (published)``, ``TokenCut``, ``LOST``, ``Deep Spectral``, ``FOUND - single`` or ``MOVE``.
        backbone: ``dino_vits8``, ``dino_vits16`` or ``ibot_vits16``; unknown for most other methods.
        crop: multi-scale consistency (Sempart alone).
        guided_filter: guided filtering, of Sempart in the teacher and of the masks.
        bilateral_solver: the masks are refined by the bilateral solver.
        selfmask: the masks taught SelfMask, which is scored.
        table: of the paper.
    """
    labels = {"method": method, "backbone": backbone, "crop": crop, "guided_filter": guided_filter, "table": table}
    wanted = {key: value for key, value in labels.items() if value is not None}
    wanted |= {"bilateral_solver": bilateral_solver, "selfmask": selfmask}
    found = {
        row["numbers"][dataset][metric]
        for row in _paper()["rows"]
        if all(row.get(key) == value for key, value in wanted.items()) and metric in row["numbers"].get(dataset, {})
    }
    return found.pop() if len(found) == 1 else None


def is_whole(dataset: str, images: int | None = None) -> bool:
    """Tell whether this is a published test set, by name and, where it is known, by its number of images."""
    return images in (None, _paper()["images"].get(dataset)) and dataset in _paper()["images"]


def labels_of_run(options: Mapping[str, Any], row: str, protocol: str) -> dict[str, Any] | None:
    """Return which of the paper's rows a row of a run is compared with, as arguments of :func:`published`.

    Args:
        options: of the model, with its class as ``class_path``.
        row: ``mask``, ``mask + guided filter`` or ``mask + bilateral solver``.
        protocol: name of the protocol.

    Returns:
        None where the paper has no such row: a run with the crop is trained with the guided filter and filtered at
        test, or neither.
    """
    kind = str(options.get("class_path", "")).rpartition(".")[2]
    method = options.get("method")
    filtered, solved = row == "mask + guided filter", row == "mask + bilateral solver"
    refined: dict[str, Any] = {"guided_filter": filtered, "bilateral_solver": solved}
    if kind == "Sempart":
        crop = bool(options.get("crop"))
        # Solved rows of the paper start from the plain or from the filtered training.
        if crop and not solved and filtered != bool(options.get("guided_filter")):
            return None
        if solved:
            refined["guided_filter"] = crop and bool(options.get("guided_filter"))
        return {"method": "Sempart", "backbone": str(options.get("backbone")), "crop": crop, **refined}
    if kind == "Found" or method == "found":
        return {"method": "FOUND - single", **refined} if protocol == "found-single" else None
    if kind == "Discovery" and method in _DISCOVERY:
        return {"method": _DISCOVERY[method], "backbone": str(options.get("backbone")), **refined}
    return None


def labels_of_table(labels: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the arguments of :func:`published` that the columns of a table of results give; None if there are none.

    Columns of the same names are read: ``method``, ``backbone``, ``crop``, ``guided_filter``, ``bilateral_solver``.
    Where ``row`` is one of ``test``'s rows, ``guided_filter`` is the training's, as in :func:`labels_of_run`.
    """
    found: dict[str, Any] = {key: labels[key] for key in ("method", "backbone") if labels.get(key)}
    for key in ("crop", "guided_filter", "bilateral_solver"):
        if labels.get(key):
            found[key] = _WORDS.get(labels[key].lower())
    if "crop" not in found or "backbone" not in found:
        return found or None
    if labels.get("row", "").split(" + ")[0] == "mask":
        return labels_of_run({"class_path": "Sempart", **found}, labels["row"], "")
    return {"method": "Sempart", **found}


@cache
def _paper() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
    return content
