"""Someone's masks as a method: read from a folder, scored and refined by the same protocols as all others."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from segtricks.data.images import UnreadableImage, find_images
from segtricks.data.mask_pairs import prediction_folder
from segtricks.data.mask_values import MaskRule, decide
from segtricks.data.pairing import MAX_UNPAIRED, by_ending, few, one_per_stem
from segtricks.data.sample import SegmentationDataset
from segtricks.errors import UserError
from segtricks.methods.base import PLAIN, SegmentationModule
from segtricks.metrics import get_protocol
from segtricks.refine import GuidedFilter
from segtricks.scoring.evaluator import Evaluator
from segtricks.scoring.mask_reading import check_turn, read_prediction

log = logging.getLogger(__name__)


class GivenMasks(SegmentationModule):
    """Masks of any method, of the photographs' names: plain, with the guided filter, and with the bilateral solver.

    ``segtricks test --config masks --model.folder DIR --data SET`` needs no checkpoint. The refiners see what is
    scored: the crop of a protocol that crops, else the whole photograph. No polarity is applied.

    Args:
        folder: of the masks, or what ``segtricks predict`` or ``discover`` wrote.
        refiner: window and borders of the guided filter.
        bilateral_preset: cell sizes of the bilateral solver: two-tricks 24/4/4, tokencut 16/16/8.
        protocol: how ``test`` scores.
        seed: unused, nothing in it is random.

    Raises:
        UserError: the folder is missing or empty, or the protocol has a polarity.
    """

    needs_checkpoint = False

    def __init__(
        self,
        folder: str,
        refiner: GuidedFilter = GuidedFilter(),  # noqa: B008 - frozen
        bilateral_preset: Literal["two-tricks", "tokencut"] = "two-tricks",
        protocol: str = "fullres",
        seed: int = 0,
    ) -> None:
        super().__init__(protocol, refiner, "full", bilateral_preset)
        self.protocol = get_protocol(protocol, polarity="none")
        if self.protocol.polarity != "none":
            raise UserError(
                f"--protocol {protocol}: masks are scored as they are.\n"
                f"Next: leave polarity={self.protocol.polarity} out."
            )
        self.predicted_row = PLAIN
        self.folder = Path(folder)
        place = prediction_folder(self.folder)
        self._files = one_per_stem(find_images(place), lambda path: _name(path, place), ".png")
        self._names: dict[str, str] = {}
        self._rule = decide(list(self._files.values()), "masks")
        for line in self._rule.lines():
            log.warning("%s: %s", self.folder, line)

    @property
    def reading(self) -> dict[str, Any]:
        """What results say of how the masks are read, where that is unusual."""
        return {} if self._rule == MaskRule() else {"predictions": asdict(self._rule)}

    def make_evaluator(self, dataset: SegmentationDataset, name: str) -> Evaluator:
        """Find the mask of each photograph: that of its name, as much of the path as the folder of masks has.

        Raises:
            UserError: more than 1 % of the photographs have none; the first are named.
        """
        names = {str(path): found for path, found in by_ending(dataset.images, self._files).items()}
        missing = [Path(path).name for path, found in names.items() if found not in self._files]
        if len(missing) > MAX_UNPAIRED * len(names):
            raise UserError(
                f"{len(missing):,} of the {len(names):,} photographs of {name} have no mask of their name in "
                f"{self.folder}: {few(missing)}.\n"
                "Next: give each mask the name of its photograph; the suffix may differ."
            )
        if spare := sorted(set(self._files) - set(names.values())):
            log.warning("%d masks in %s have no photograph in %s: %s", len(spare), self.folder, name, few(spare))
        self._names |= names
        return super().make_evaluator(dataset, name)

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, list[Tensor]]:
        """Score a batch, without the photographs whose mask is missing or cannot be read."""
        given: list[Tensor] = []
        kept: list[int] = []
        skipped = list(batch["skipped"])
        for i, path in enumerate(batch["path"]):
            try:
                given.append(self._read(path, batch["photo"][i]))
                kept.append(i)
            except UnreadableImage as error:
                skipped.append((error.path, error.reason))
        chosen = {name: [values[i] for i in kept] for name, values in batch.items() if name != "skipped"}
        batch.update(chosen, skipped=skipped, given=given)  # callbacks look at the batch too
        return super().test_step(batch, batch_idx, dataloader_idx)

    def probabilities(self, batch: Mapping[str, Any], polarity: str) -> list[Tensor]:
        """Return the masks (1, 1, H, W) that were read, at the sizes of their photographs."""
        given: list[Tensor] = batch["given"]
        return given

    def _read(self, path: str, photo: Tensor) -> Tensor:
        if (name := self._names[path]) not in self._files:
            raise UnreadableImage(Path(path), "no mask of this name")
        soft, _ = read_prediction(self._files[name], self._rule)
        size = photo.shape[-2:]  # of the crop, where the protocol crops
        check_turn(self._files[name], soft, size, "its photograph")
        if self.protocol.crop is not None and soft.shape[-2:] != size:
            soft = self.protocol.crop(soft)
        return self.protocol.fit(soft[None].float().to(self.device) / 255, size)

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> list[Tensor]:
        """Refuse (``UserError``): the masks are there."""
        raise UserError(
            "The masks are there already.\nNext: segtricks refine --masks MASKS --images PHOTOS --output OUT"
        )

    def configure_optimizers(self) -> Any:
        """Refuse to train (``UserError``)."""
        raise UserError("Given masks need no training.\nNext: segtricks test --config masks --model.folder MASKS")


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
