"""The LightningCLI of ``fit``, ``validate``, ``test`` and ``predict``: one parser, no subcommands of its own."""

import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import Namespace, set_parsing_settings
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from torch import Tensor

from segtricks.backbones.fingerprint import fingerprint
from segtricks.commands.feature_options import take_cache_options
from segtricks.commands.parser import ASKED, Asked, Parser, check_ranges, chosen_method, plain_mistakes
from segtricks.commands.run_options import RUN_OPTIONS
from segtricks.data import SaliencyDataModule
from segtricks.data.datamodule import RunData, spread
from segtricks.data.images import UnreadableImage, read_image
from segtricks.data.transforms import fit_short_side, to_input
from segtricks.errors import UserError
from segtricks.methods import SegmentationModule, Sempart
from segtricks.methods.provenance import provenance
from segtricks.runs import replacing
from segtricks.training.bar import CudnnBenchmark, TrainingBar
from segtricks.training.feature_caching import FeatureCaching

_log = logging.getLogger(__name__)
_SAMPLED = 32  # photographs whose borders show the sign of a head

# No class_path of a config may name os, subprocess and the like; naming an entry makes jsonargparse keep to its list.
set_parsing_settings(import_path_denylist=["os"])


class SegtricksCLI(LightningCLI):
    """Parse options and configs, and make model, data and trainer from them.

    A checkpoint's hyper-parameters are never read back, so the command line and the YAML always win.

    The trainer gets a bar and cuDNN's benchmark as this framework wants them, unless the config has its own:
    ``trainer.callbacks`` with a progress bar, ``trainer.enable_progress_bar``, ``trainer.benchmark``.

    Args:
        args: option words, without the command.
        callbacks: makes the command's callbacks from the parsed config; the config's own come before them.
        loggers: makes the loggers from the parsed config.
        bar: show Lightning's bar; a command that has its own asks :attr:`wants_bar` whether to show it.
        command: its name, for messages.
        trainer_options: trainer arguments that the command decides.
    """

    def __init__(
        self,
        args: Sequence[str],
        callbacks: Callable[[Namespace], list[Callback]] = lambda config: [],
        loggers: Callable[[Namespace], list[Logger]] = lambda config: [],
        bar: bool = True,
        command: str = "fit",
        **trainer_options: Any,
    ) -> None:
        self._make_callbacks, self._make_loggers, self._options = callbacks, loggers, trainer_options
        self._bar, self.wants_bar = bar, True
        self._features, args = take_cache_options(args)
        self._method = chosen_method(args) or Sempart
        ASKED.set(Asked(command, tuple(args), self._method))
        with plain_mistakes():
            super().__init__(
                SegmentationModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                seed_everything_default=0,
                save_config_callback=None,
                parser_class=Parser,
                parser_kwargs={"prog": "segtricks", "allow_abbrev": False},
                run=False,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                args=list(args),
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is ours: defaults, links and the options of a run."""
        parser.set_defaults(
            {
                "trainer.num_sanity_val_steps": 0,
                "trainer.use_distributed_sampler": False,  # every loader brings its own
                "model": {"class_path": _path_of(self._method), "init_args": self._method_defaults()},
                "data": {"class_path": _path_of(SaliencyDataModule)},
            }
        )
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")
        for name, (kind, default, text) in RUN_OPTIONS.items():
            parser.add_argument(f"--{name}", type=kind, default=default, help=text)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse what is out of range before anything is made of it."""
        super().parse_arguments(parser, args)
        self._moved = _moved_weights(self.config)
        self.config.provenance = None  # of the run whose config this is, not of this one
        _see_at_size(self.config)
        check_ranges(self.config)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer with our callbacks and loggers in addition to the config's."""
        given = self.config_init.trainer
        callbacks = given.callbacks if isinstance(given.callbacks, list) else [given.callbacks]
        own = self._make_callbacks(self.config)
        options = {"enable_model_summary": False, **self._options}
        self.wants_bar = given.enable_progress_bar is not False and not any(
            isinstance(callback, ProgressBar) for callback in callbacks
        )
        if self.wants_bar and self._bar:
            own.append(TrainingBar())
        elif self.wants_bar:
            options["enable_progress_bar"] = False
        if given.benchmark is None and not given.deterministic:
            own.append(CudnnBenchmark())
        if self._features.cache_features:
            own.append(FeatureCaching(self._features.cache_dir))
        self.trainer_defaults = {"callbacks": own}
        loggers = self._make_loggers(self.config)
        return super().instantiate_trainer(**{"logger": loggers or False, **options, **kwargs})

    def after_instantiate_classes(self) -> None:
        """Refuse a precision that the device has not; let image sides fit the backbone's patches."""
        if self.trainer.precision == "16-true" and isinstance(self.trainer.accelerator, CPUAccelerator):
            raise UserError(
                "trainer.precision 16-true needs a GPU, and this run is on the CPU.\n"
                "Next: pass --trainer.precision 32-true, or bf16-mixed for less memory."
            )
        if self._moved is not None:
            self._moved.check(self.model.backbone)
        patch = getattr(getattr(self.model, "backbone", None), "patch_size", None)
        if patch:
            self.run_data.fit_patches(patch)

    def _method_defaults(self) -> dict[str, Any]:
        optimizer = getattr(self._method, "default_optimizer", None)
        return {} if optimizer is None else {"optimizer": optimizer}

    def save(self, path: Path) -> None:
        """Write the complete config, which ``--config`` loads again."""
        self.parser.save(self.config, str(path), skip_unset=False, overwrite=True, multifile=False)

    def keep(self, run: Path) -> None:
        """Write the config of a run, with what the model has found out by now, into its folder."""
        self.config.provenance = provenance(self.model)
        with replacing(run / "config.yaml") as path:
            self.save(path)

    def plain_config(self) -> dict[str, Any]:
        """Return the complete config as plain data."""
        plain: dict[str, Any] = yaml.safe_load(self.parser.dump(self.config, skip_unset=False))
        return plain

    def sample_images(self, photographs: Sequence[Path]) -> list[Tensor]:
        """Return training photographs (3, H, W), normalised; where they are gone, some of ``photographs``.

        A sample spread evenly over all of them, so that parts of a list that are predicted apart agree.
        """
        data = self.run_data
        with suppress(UserError):
            return list(data.sample_images(_SAMPLED))
        images = []
        for i in spread(len(photographs), _SAMPLED):
            with suppress(UnreadableImage):
                images.append(to_input(fit_short_side(read_image(photographs[i]), data.size, data.multiple)))
        return images

    def ask_for_targets(self) -> None:
        """Let training batches have the targets that the method wants, if it wants any."""
        if self.model.target_kind is not None:
            self.run_data.ask_for_targets(self.model.target_kind)

    @property
    def run_data(self) -> RunData:
        """The data module, whatever its class.

        Raises:
            UserError: if it lacks something that the commands use.
        """
        data: RunData = self.datamodule
        wanted = [*get_type_hints(RunData), *(name for name in vars(RunData) if not name.startswith("_"))]
        if missing := [name for name in wanted if not hasattr(type(data), name) and name not in vars(data)]:
            raise UserError(
                f"{type(data).__name__} cannot be used as data.class_path: it lacks {', '.join(missing)}.\n"
                "Next: derive it from segtricks.data.SaliencyDataModule, or give it what "
                "segtricks.data.datamodule.RunData lists."
            )
        return data


@dataclass(frozen=True)
class _Moved:
    """Weights of a run's backbone whose file is gone, for which those that are at hand are taken."""

    file: str
    fingerprint: str

    def check(self, backbone: Any) -> None:
        """Raise a ``UserError`` unless a backbone has these weights."""
        if fingerprint(backbone) != self.fingerprint:
            raise UserError(
                f"The weights {self.file} of the run are gone, and those at hand ({backbone.weights}) are others.\n"
                "Next: pass where the file is now, with --model.backbone_checkpoint FILE."
            )
        _log.warning("%s is gone; the same weights were found elsewhere (%s).", self.file, backbone.weights)


def _moved_weights(config: Namespace) -> _Moved | None:
    """Let a run whose file of weights is gone take those at hand, to be compared with what the run knows of them."""
    options = config.model.get("init_args")
    file = None if options is None else options.get("backbone_checkpoint")
    known = (config.provenance or {}).get("fingerprint")
    if file is None or known is None or Path(file).exists():
        return None
    options.backbone_checkpoint, options.pretrained = None, True
    return _Moved(str(file), known)


def _see_at_size(config: Namespace) -> None:
    """Let a size that is asked for when nothing is trained be that of whole images, whatever the run has for them."""
    asked = ASKED.get()
    said = {word.partition("=")[0] for word in asked.words}
    if asked.command == "fit" or "--data.size" not in said or "--data.test_size" in said:
        return
    options = config.data.get("init_args")
    if options is not None and "test_size" in options:
        options.test_size = None


def quiet() -> None:
    """Silence what a user cannot act on: device lists, tips, hints on worker counts."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "LightningCLI's args parameter is intended.*",
        ".*does not have many workers.*",
        "Found .* module.* in eval mode at the start of training.*",
        ".*Trainer already configured with model summary.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*Be aware that when using `ckpt_path`, callbacks.*",
        ".*`training_step` returned `None`.*",
        ".*could not find the monitored key.*",  # stopped before the first validation: last.ckpt is there
        "Total length of .* across ranks is zero.*",
        ".*isinstance.treespec, LeafSpec.*",
        "Corrupt EXIF data.*",  # the pixels are sound; a file without those is reported
        "Palette images with Transparency expressed in bytes.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="lightning.*")
    warnings.formatwarning = lambda message, category, filename, lineno, line=None: f"segtricks: warning: {message}\n"


def _path_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
