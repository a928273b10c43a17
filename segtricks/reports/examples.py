"""The best, the middle and the worst image of each test set, kept small beside the result for ``segtricks report``."""

import io
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from segtricks.metrics import Protocol
from segtricks.runs import file_name, write_json

_ROOM = 200


@dataclass
class Example:
    """One scored image: its path, the IoU of the mask that the model predicts, and JPEG files by title."""

    path: str
    iou: float
    pictures: dict[str, bytes]


class TestExamples(Callback):
    """After a test, write ``test/RESULT-examples/``: small pictures and ``index.json``.

    Photograph, masks and target of the images with the highest, the middle and the lowest IoU, those of the first
    process where there are several. Memory does not grow with the test set: of what is neither best nor worst, the
    images nearest to the median so far are kept.

    Args:
        run: the run folder.
        count: images of each kind.
    """

    def __init__(self, run: Path, count: int = 3) -> None:
        self.folder, self.count = run / "test", count
        self._kept: dict[str, list[Example]] = {}
        self._ious: dict[str, list[float]] = {}
        self._boring: dict[str, list[tuple[float, float]]] = {}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the batch's images in."""
        if not trainer.is_global_zero or "mask" not in batch:
            return
        name = trainer.datamodule.test_names[dataloader_idx]  # type: ignore[attr-defined]
        kept, ious = self._kept.setdefault(name, []), self._ious.setdefault(name, [])
        main = list(outputs)[1 if module.refine_predictions else 0]  # plain, filtered, perhaps solved
        for i, path in enumerate(batch["path"]):
            iou = module.batch_scores[main][i].iou  # type: ignore[index, union-attr]
            if iou != iou:  # both empty
                continue
            ious.append(iou)
            if name in self._boring and any(low < iou < high for low, high in self._boring[name]):
                continue
            shown = {"photograph": batch["photo"][i], **{row: masks[i] for row, masks in outputs.items()}}
            pictures = {title: small_jpeg(picture) for title, picture in (shown | {"target": batch["mask"][i]}).items()}
            kept.append(Example(path, iou, pictures))
        if len(kept) > _ROOM:
            kept, groups = self._choose(kept, ious, _ROOM // 2)
            self._kept[name] = kept
            middle = [example.iou for example, group in zip(kept, groups, strict=True) if group == "median"]
            # Drawing takes longer than scoring; an image between these bounds is not chosen unless the median wanders.
            self._boring[name] = [(middle[0], kept[self.count - 1].iou), (kept[-self.count].iou, middle[-1])]

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the pictures."""
        protocol: Protocol = module.protocol  # type: ignore[assignment]
        suffix = "" if protocol.name == "fullres" else f"-{file_name(protocol.name)}"
        for name, kept in self._kept.items():
            if kept:
                chosen, groups = self._choose(kept, self._ious[name], self.count)
                write_examples(self.folder / f"{file_name(name)}{suffix}-examples", chosen, groups)
        self._kept, self._ious, self._boring = {}, {}, {}

    def _choose(self, kept: list[Example], ious: list[float], middle: int) -> tuple[list[Example], list[str]]:
        """Best first: the ``count`` best, ``middle`` images nearest to the median, the ``count`` worst."""
        order = sorted(kept, key=lambda example: (-example.iou, example.path))
        count = min(self.count, len(order) // 3) if len(order) >= 3 else len(order)
        best, rest, worst = order[:count], order[count : len(order) - count], order[max(count, len(order) - count) :]
        median = float(torch.tensor(ious, dtype=torch.float64).quantile(0.5))
        near = sorted(sorted(rest, key=lambda example: abs(example.iou - median))[:middle], key=lambda e: -e.iou)
        return best + near + worst, ["best"] * len(best) + ["median"] * len(near) + ["worst"] * len(worst)


def small_jpeg(picture: Tensor, side: int = 320) -> bytes:
    """Return a picture (C, H, W), uint8 or in [0, 1], as JPEG of at most ``side`` pixels a side."""
    picture = picture.detach().cpu()
    pixels = picture if picture.dtype == torch.uint8 else (picture.float().clamp(0, 1) * 255).round().to(torch.uint8)
    image = to_pil_image(pixels)
    image.thumbnail((side, side), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def write_examples(folder: Path, examples: list[Example], groups: list[str]) -> None:
    """Write pictures and ``index.json`` into a folder that replaces the one before."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".examples-"))
    entries = []
    for number, (example, group) in enumerate(zip(examples, groups, strict=True)):
        files = {title: f"{number:02d}-{file_name(title)}.jpg" for title in example.pictures}
        for title, name in files.items():
            (fresh / name).write_bytes(example.pictures[title])
        entries.append({"image": example.path, "group": group, "iou": example.iou, "pictures": files})
    write_json(fresh / "index.json", {"examples": entries})
    fresh.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.replace(folder)
