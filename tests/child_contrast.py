"""One step of MaskContrast in one of several processes, see ``test_processes.py``: the first writes what came of it."""

import os
import warnings

import lightning
import torch

from segtricks.data import PairDataModule
from segtricks.methods import MaskContrast
from segtricks.methods.maskcontrast import of_all_processes

os.chdir(folder)  # noqa: F821
os.environ.update(environment)  # noqa: F821
torch.set_num_threads(1)
log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
warnings.simplefilter("ignore")


class Watched(MaskContrast):
    """Keeps the queue, the keys of unequal processes, and the loss after the first step."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        loss = self.trainer.callback_metrics["train/contrast"]
        rank = self.global_rank
        unequal = of_all_processes(torch.full((2 * rank, 3), float(rank)))
        self.found = {"queue": self.queue.entries.clone(), "loss": loss, "unequal": unequal}


lightning.seed_everything(1, verbose=False)
model = Watched("descriptor4", freeze="frozen", queue=16)
count = processes  # noqa: F821
data = PairDataModule("photos", [], size=16, resize=20, batch_size=8 // count, held_out=1, num_workers=0, masks="masks")
data.ask_for_targets("mask")
trainer = lightning.Trainer(
    accelerator="cpu",
    devices=count,
    strategy="ddp" if count > 1 else "auto",
    max_epochs=1,
    limit_val_batches=0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, data)
assert trainer.global_step == 1
if trainer.is_global_zero:
    torch.save(model.found, f"{count}.pt")
