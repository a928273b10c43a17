"""Unsupervised image segmentation: Sempart, multi-scale consistency and guided filtering."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segtricks.commands.predictor import Predictor
    from segtricks.commands.run_loading import load_released, load_run

    __version__: str

__all__ = ["Predictor", "__version__", "load_released", "load_run"]

# Their modules import Lightning, which the command line's help can do without.
_MODULES = {"Predictor": "predictor", "load_released": "run_loading", "load_run": "run_loading"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _MODULES:
        return getattr(import_module(f"segtricks.commands.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "__version__", *_MODULES])


def _version() -> str:
    """The version that was installed, made of the git tag."""
    from importlib import metadata

    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:  # a source tree on PYTHONPATH
        return "0+unknown"
