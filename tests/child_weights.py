"""Train three steps of SGD in one of several processes; the first one writes the weights. See ``test_processes.py``."""

import os
import warnings

import lightning
import torch

from segtricks.data import SaliencyDataModule
from segtricks.methods import Sempart

os.chdir(folder)  # noqa: F821
os.environ.update(environment)  # noqa: F821
torch.set_num_threads(1)
log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
warnings.simplefilter("ignore")


class Frozen(Sempart):
    """Batch norms use their running statistics, so that an image's result does not depend on the others."""

    def on_train_epoch_start(self):
        for module in self.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()


lightning.seed_everything(1, verbose=False)
kind = {"frozen": Frozen, "own": Sempart}[norms]  # noqa: F821
model = kind("descriptor4", crop=False, hidden_dim=8, optimizer=lambda parameters: torch.optim.SGD(parameters, 0.05))
count = processes  # noqa: F821
data = SaliencyDataModule("synthetic[:25]", [], size=32, batch_size=8 // count, held_out=1, num_workers=0)
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
assert trainer.global_step == 3
if trainer.is_global_zero:
    weights = {name: value.detach().clone() for name, value in model.head.named_parameters()}
    torch.save(weights, f"{count}-{norms}.pt")  # noqa: F821
