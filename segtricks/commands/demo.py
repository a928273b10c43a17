"""What ``--config demo`` needs in addition to segtricks itself, and what to type where it is missing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from segtricks.backbones.carrier import NAME, carrier_file
from segtricks.backbones.registry import PRETRAINED
from segtricks.backbones.sources import local_weights
from segtricks.data.datasets.examples import locate, photographs
from segtricks.errors import UserError
from segtricks.packaged import find_config, packaged_configs

EXTRAS = 'pip install "segtricks[examples,weights]"'
NEXT = f"Next: {EXTRAS}; or on drawn scenes, without photographs and weights: segtricks fit --config synthetic"


@contextmanager
def demo_explained(configs: Sequence[str]) -> Iterator[None]:
    """Where the demo fails and its photographs or weights are missing, say how to get them, or do without."""
    try:
        yield
    except UserError as error:
        if type(error) is not UserError or not configs or not _is_demo(configs[-1]) or not lacking():
            raise
        message = str(error).split("\nNext:")[0]
        raise UserError(f"{message}\n{NEXT}") from error


def lacking() -> bool:
    """Whether a photograph of ``examples`` is not there, or no weights that need no network."""
    if any(locate(photograph) is None for photograph in photographs()):
        return True
    carried = carrier_file() is not None and find_spec("onnx") is not None
    return not carried and local_weights(NAME, PRETRAINED[NAME]) is None


def _is_demo(config: str) -> bool:
    try:
        return find_config(config) == packaged_configs()["demo"]
    except UserError:
        return False
