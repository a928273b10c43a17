"""Write predictions: a soft mask, a binary mask and an overlay for every photograph."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from segtricks.reports.pictures import overlay
from segtricks.runs import replacing


class MaskWriter(Callback):
    """Write ``soft/``, ``binary/`` and ``overlay/`` under ``output``, each with the photographs' names and sub-folders.

    Soft masks are 8-bit PNG (0..255), binary ones 0/255 at probability 0.5, overlays JPEG; all at the photograph's own
    size. Of photographs that differ in their suffix alone, the masks keep it (``a.jpg.png``).

    Args:
        photos: folder of the photographs.
        output: folder to write to.
        names: all photographs, to find the names that collide.
    """

    def __init__(self, photos: Path, output: Path, names: list[Path]) -> None:
        self.photos, self.output = photos, output
        stems = Counter(self.relative(path).with_suffix("") for path in names)
        self._shared = {stem for stem, count in stems.items() if count > 1}
        self.written: list[str] = []
        self.skipped: list[tuple[str, str]] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a batch."""
        self.skipped += batch["skipped"]
        for mask, photo, path in zip(outputs, batch["photo"], batch["path"], strict=True):
            self.write(mask.cpu(), photo.cpu(), Path(path))

    def write(self, mask: Tensor, photo: Tensor, path: Path) -> None:
        """Write the files of one photograph: ``mask`` (1, H, W) probabilities, ``photo`` (3, H, W) uint8."""
        soft = (mask.clamp(0, 1) * 255).round().to(torch.uint8)
        for folder, picture in (("soft", soft), ("binary", (mask > 0.5).to(torch.uint8) * 255)):
            with replacing(self.file(path, folder)) as temporary:
                to_pil_image(picture).save(temporary)
        with replacing(self.file(path, "overlay")) as temporary:
            to_pil_image(overlay(photo, mask)).save(temporary, quality=90)
        self.written.append(str(self.relative(path)))

    def file(self, path: Path, kind: str) -> Path:
        """Return where a photograph's ``soft``, ``binary`` or ``overlay`` picture goes."""
        relative = self.relative(path)
        name = relative if relative.with_suffix("") in self._shared else relative.with_suffix("")
        return self.output / kind / f"{name}.{'jpg' if kind == 'overlay' else 'png'}"

    def exists(self, path: Path) -> bool:
        """Whether all three pictures of a photograph are there."""
        return all(self.file(path, kind).is_file() for kind in ("soft", "binary", "overlay"))

    def index(self, already_there: int) -> dict[str, Any]:
        """Return the content of ``index.json``: what was written, what was skipped, and how many were there before."""
        return {
            "images": len(self.written),
            "written": self.written,
            "already_there": already_there,
            "skipped": [{"path": path, "reason": reason} for path, reason in self.skipped],
        }

    def relative(self, path: Path) -> Path:
        """Return a photograph's path below the folder of photographs."""
        return path.relative_to(self.photos) if path.is_relative_to(self.photos) else Path(path.name)
