"""Write the pictures of an evaluation; the best and worst images are read again, so that none is kept in memory."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from segtricks.data.images import UnreadableImage, find_images, read_image
from segtricks.metrics import Protocol
from segtricks.metrics.functional.masks import binary_target
from segtricks.reports.figures import RankedImage, best_worst_figure, bins_figure, f_figure, pr_figure, save_figure
from segtricks.scoring.folders import ROW, FolderEvaluation
from segtricks.scoring.mask_reading import read_pair

_SHOWN = 4


def write_figures(
    folder: Path, evaluations: Mapping[str, FolderEvaluation], protocol: Protocol, images: Path | None = None
) -> None:
    """Write ``pr.png``, ``f.png``, ``iou-by-size.png`` of all sets, and ``best-worst.png`` of each.

    Args:
        folder: where to.
        evaluations: by the name of the set of masks.
        protocol: by which they were scored.
        images: folder of the photographs, to show them next to the masks.
    """
    scores = {name: found.sums for name, found in evaluations.items()}
    save_figure(pr_figure(scores), folder / "pr.png")
    save_figure(f_figure(scores), folder / "f.png")
    sizes = bins_figure({name: score.size_bins() for name, score in scores.items()})
    if sizes is not None:
        save_figure(sizes, folder / "iou-by-size.png")
    photos = _photos(images) if images else {}
    for name, found in evaluations.items():
        ranked = _ranked(found)
        worst = ranked[: min(_SHOWN, len(ranked) // 2)]
        best = ranked[len(worst) :][-_SHOWN:]
        path = folder / ("best-worst.png" if len(evaluations) == 1 else f"best-worst-{name.replace('/', '-')}.png")
        if best:
            above = [_ranked_image(found, *entry, protocol, photos) for entry in reversed(best)]
            below = [_ranked_image(found, *entry, protocol, photos) for entry in worst]
            save_figure(best_worst_figure(above, below), path)


def _photos(folder: Path) -> dict[str, Path]:
    """Photographs by path below the folder, and by name where only one has it."""
    found = find_images(folder)
    count = Counter(path.stem for path in found)
    names = {path.stem: path for path in found if count[path.stem] == 1}
    return names | {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}


def _ranked(found: FolderEvaluation) -> list[tuple[str, float]]:
    ious = ((name, image.iou) for name, image in found.evaluation.rows[ROW].per_image.items())
    return sorted((entry for entry in ious if entry[1] == entry[1]), key=lambda entry: entry[1])


def _ranked_image(
    found: FolderEvaluation, name: str, iou: float, protocol: Protocol, photos: Mapping[str, Path]
) -> RankedImage:
    prediction, target = found.files[name]
    assert target is not None
    pred, truth, _ = read_pair(prediction, target, protocol, found.rules)
    photo = None
    path = photos.get(name) or photos.get(Path(name).name)
    if path is not None:
        try:
            photo = read_image(path)
        except UnreadableImage:
            photo = None
    return RankedImage(name, iou, pred, binary_target(truth, protocol.target_threshold), photo)
