"""Unsupervised image segmentation: Sempart, multi-scale consistency and guided filtering."""

from typing import Any

__all__ = ["__version__", "load_run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load_run":  # imports Lightning, which the command line's help can do without
        from segtricks.commands.run_loading import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
