"""Unsupervised image segmentation: Sempart, multi-scale consistency and guided filtering."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segtricks.commands.run_loading import load_released, load_run

__all__ = ["__version__", "load_released", "load_run"]
__version__ = "0.1.0"

_FUNCTIONS = ("load_released", "load_run")


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:  # they import Lightning, which the command line's help can do without
        from segtricks.commands import run_loading

        return getattr(run_loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FUNCTIONS])
