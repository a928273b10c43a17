"""Masks in other programs: Ray Data, a web service, a notebook."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from segtricks.commands.options import checked_device
from segtricks.commands.run_loading import load_released, load_run
from segtricks.errors import UserError
from segtricks.methods.base import PLAIN, REFINED, SegmentationModule
from segtricks.methods.photographs import Photograph, Photographs
from segtricks.pseudo_labels.writer import MaskWriter
from segtricks.refine import GuidedFilter

log = logging.getLogger(__name__)

Mask = NDArray[np.float32] | NDArray[np.bool_]


class Predictor:
    """Photographs in, masks out: a callable for Ray Data, a web service or a notebook.

    A photograph is a path, a PIL image or a uint8 RGB array (H, W, 3). Called with one it returns its mask (H, W),
    called with a list a list of masks, and what cannot be used raises. Called with a dictionary of columns, as Ray Data
    does, it reads the column ``image``, or else ``path``, and returns the dictionary with the columns ``mask`` and
    ``error`` added: a photograph that cannot be used has the reason there and a mask of shape (0, 0), and the others
    have their masks.

    It is pickled as its arguments, so the process that unpickles it loads the run itself.

    Args:
        run: a run folder, or its name below ``runs/``; left out, the head that ships with segtricks.
        checkpoint: one of the run's checkpoints; left out, the best, or else the last.
        device: where to compute, such as ``cuda:0``; left out, the first GPU, or the CPU where there is none.
        threshold: masks are bool, True above it; left out, they are float32 in [0, 1].
        guided_filter: what filters the masks; True is what ``segtricks predict`` does, False is no filter.

    Raises:
        UserError: no such run or device, the threshold is out of range, or the method makes other than one mask of a
            photograph. When called: something else than photographs, or a file that cannot be read.
    """

    def __init__(
        self,
        run: str | Path | None = None,
        *,
        checkpoint: str | Path | None = None,
        device: str | None = None,
        threshold: float | None = None,
        guided_filter: bool | GuidedFilter = True,
    ) -> None:
        if threshold is not None and not 0 <= threshold < 1:
            raise UserError(f"threshold is {threshold}: pass a number from 0 to below 1, such as 0.5, or leave it out.")
        self._again = partial(
            Predictor,
            run,
            checkpoint=checkpoint,
            device=device,
            threshold=threshold,
            guided_filter=guided_filter,
        )
        self.threshold = threshold
        self.model = load_soft(run, checkpoint).to(checked_device(device))
        if isinstance(guided_filter, GuidedFilter):
            self.model.refiner, self.model.predicted_row = guided_filter, REFINED
        elif not guided_filter:
            self.model.predicted_row = PLAIN

    @overload
    def __call__(self, photographs: dict[str, Any]) -> dict[str, Any]: ...

    @overload
    def __call__(self, photographs: Photograph) -> Mask: ...

    @overload
    def __call__(self, photographs: Photographs) -> list[Mask]: ...

    def __call__(self, photographs: Any) -> Any:
        """Return the mask of one photograph, of a list, or of each row of a dictionary of columns."""
        if isinstance(photographs, dict):
            return self._with_masks(photographs)
        masks = self.model.masks(photographs)
        if isinstance(masks, list):
            return [self._cut(mask) for mask in masks]
        return self._cut(masks)

    def __reduce__(self) -> tuple[Callable[[], "Predictor"], tuple[()]]:
        """Pickle the arguments, not the network."""
        return self._again, ()

    def _cut(self, mask: NDArray[np.float32]) -> Mask:
        return mask if self.threshold is None else mask > self.threshold

    def _with_masks(self, columns: dict[str, Any]) -> dict[str, Any]:
        name = next((name for name in ("image", "path") if name in columns), None)
        if name is None:
            raise UserError(f"A batch needs a column image or path; this one has {', '.join(columns) or 'none'}.")
        masks, errors = [], []
        for photograph in columns[name]:
            mask, error = self._attempt(photograph)
            masks.append(mask)
            errors.append(error)
        return columns | {"mask": _objects(masks), "error": np.array(errors, dtype=object)}

    def _attempt(self, photograph: Any) -> tuple[Mask, str]:
        """The mask, and why there is none."""
        try:
            return self._cut(self.model.masks(photograph)), ""  # not self(…): Ray lets one call in at a time
        except UserError as error:
            log.warning("%s", error)
            return self._cut(np.zeros((0, 0), np.float32)), str(error)


def load_soft(run: str | Path | None, checkpoint: str | Path | None = None) -> SegmentationModule:
    """Return the model of a run, or the released one, whose ``probabilities`` are one soft mask of a photograph.

    Raises:
        UserError: the method makes something else.
    """
    if run is None and checkpoint is not None:
        raise UserError("checkpoint is one of a run's: pass the run too.")
    model = load_released() if run is None else load_run(run, checkpoint)
    if model.writer_class is not MaskWriter:
        raise UserError(
            f"{type(model).__name__} makes other than one mask of a photograph.\n"
            f"Next: segtricks predict --run {run} --images PHOTOS --output MASKS"
        )
    return model


def _objects(arrays: Iterable[Mask]) -> NDArray[np.object_]:
    """Arrays of different shapes in one; numpy makes of those of equal shape an array of numbers."""
    given = list(arrays)
    column = np.empty(len(given), dtype=object)
    for i, array in enumerate(given):
        column[i] = array
    return column
