"""Which class a cluster stands for, by the truth of images that are not scored."""

from collections.abc import Iterator
from typing import Any

import lightning
from tqdm import tqdm

from segtricks.data.problems import warn_of_left_out
from segtricks.scoring.evaluator import gathered


def mapping_batches(module: lightning.LightningModule) -> Iterator[dict[str, Any]]:
    """Yield the batches of ``data.mapping``, as those of ``test``; none where it is null. Warn of broken files."""
    data = module.trainer.datamodule  # type: ignore[attr-defined]
    loader = data.mapping_dataloader()
    if loader is None:
        return
    skipped: list[tuple[str, str]] = []
    with module.trainer.precision_plugin.test_step_context():
        for batch in tqdm(loader, desc="mapping", unit=" batches", disable=None, leave=False):
            moved = module.transfer_batch_to_device(batch, module.device, 0)
            skipped += batch["skipped"]
            yield data.on_after_batch_transfer(moved, 0)
    warn_of_left_out(f"data.mapping {data.mapping}", gathered(skipped))
