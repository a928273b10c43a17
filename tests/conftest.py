"""Shared fixtures: where the golden values and the real photographs lie."""

import os
from pathlib import Path

import pytest
import torch

SHARED = Path(os.environ.get("SEGTRICKS_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers in every run of a test."""
    torch.manual_seed(0)


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
