"""Results written by hand: no training."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

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
        options = {"class_path": "segtricks.methods.Sempart", "init_args": {"backbone": "dino_vits8", **model}}
        config = {"seed_everything": seed, "model": options, "wandb": "off", "data": {"init_args": {"root": name}}}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        for stem, content in results.items():
            (run / "test" / f"{stem}.json").write_text(json.dumps(content))
        return run

    return make
