"""Files that cannot be read: one warning each, and an end to a run that has too many."""

import logging
import math
from typing import Any

from lightning.pytorch import Callback

from segtricks.errors import UserError

log = logging.getLogger(__name__)
_AGAIN = ", and --resume"


class BadFiles(Callback):
    """Name every file that could not be read, once; stop when they are more than a share of the images.

    One bad file never stops a run.

    Args:
        share: largest share of unreadable files, for example 0.01.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._seen: dict[str, str] = {}

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the batch's bad files."""
        self._count(batch, trainer.datamodule.counts["train"], _AGAIN)

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count the batch's bad files."""
        self._count(batch, trainer.datamodule.counts["train"], _AGAIN)

    def on_test_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count the batch's bad files."""
        name = trainer.datamodule.test_names[dataloader_idx]
        self._count(batch, trainer.datamodule.counts[name])

    def _count(self, batch: dict[str, Any], images: int, again: str = "") -> None:
        for path, reason in batch["skipped"]:
            if path not in self._seen:
                self._seen[path] = reason
                log.warning("skipped %s: %s", path, reason)
        allowed = max(1, int(self.share * images))
        if len(self._seen) > allowed:
            enough = math.ceil(100 * len(self._seen) / images) / 100
            raise UserError(
                f"{len(self._seen)} of {images} files could not be used, more than the {allowed} allowed; the last: "
                f"{next(reversed(self._seen))}.\n"
                f"Next: repair or remove them, or allow more with --max_bad_share {enough:g} or above{again}."
            )
