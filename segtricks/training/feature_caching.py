"""Features kept on disk while a model is tested, validated or predicts, and never while it trains."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from segtricks.backbones.feature_cache import FeatureCache, cache_features, forget_cache


class FeatureCaching(Callback):
    """Let the model's ``backbone`` keep its features on disk (:class:`segtricks.backbones.feature_cache.FeatureCache`).

    Only in ``test``, ``predict`` and ``validate``. In ``fit`` it does nothing, also while held-out images are looked
    at: augmentation and crops change every image.

    Args:
        folder: of the features; None is the user's folder of caches.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = folder
        self.cache: FeatureCache | None = None
        """The last one, with its counts."""

    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin, once the weights are there."""
        self.cache = cache_features(module.backbone, self.folder)  # type: ignore[arg-type]

    def on_predict_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin."""
        self.on_test_start(trainer, module)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin, unless a fit validates."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.on_test_start(trainer, module)

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """End."""
        forget_cache(module.backbone)  # type: ignore[arg-type]
