"""Unsupervised image segmentation: Sempart, multi-scale consistency and guided filtering."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segtricks.commands.run_loading import load_released, load_run

    __version__: str

__all__ = ["__version__", "load_released", "load_run"]

_FUNCTIONS = ("load_released", "load_run")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _FUNCTIONS:  # they import Lightning, which the command line's help can do without
        from segtricks.commands import run_loading

        return getattr(run_loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "__version__", *_FUNCTIONS])


def _version() -> str:
    """The version that was installed, made of the git tag."""
    from importlib import metadata

    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:  # a source tree on PYTHONPATH
        return "0+unknown"
