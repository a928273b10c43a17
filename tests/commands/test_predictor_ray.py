"""By a Ray of this machine: two workers, and one processor left for reading."""

import os
import tempfile

import numpy as np
import pytest
from PIL import Image

import segtricks

# Ray reads this on import: without it, workers of a program that `uv run` started each install all 7 GB anew.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
ray = pytest.importorskip("ray", reason="comes with the dependency group ray")
pytest.importorskip("ray.data", reason="comes with the dependency group ray")


@pytest.fixture
def cluster(monkeypatch):
    for name, value in {"USAGE_STATS_ENABLED": "0", "worker_niceness": "0", "AUTH_MODE": "disabled"}.items():
        monkeypatch.setenv(f"RAY_{name}", value)
    size = 100 * 2**20
    with tempfile.TemporaryDirectory(
        prefix="ray", ignore_cleanup_errors=True
    ) as folder:  # short: names of sockets end at 107 characters
        ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=size, _temp_dir=folder)
        yield
        ray.shutdown()


@pytest.mark.slow
def test_two_workers_make_the_masks_of_the_command(cluster, trained, drawn, written):
    photographs = ray.data.read_images(str(drawn), mode="RGB", include_paths=True, override_num_blocks=3)
    rows = photographs.map_batches(
        segtricks.Predictor,
        fn_constructor_kwargs={"run": str(trained / "runs/small"), "device": "cpu"},
        compute=ray.data.ActorPoolStrategy(size=2),
        batch_size=1,
    ).take_all()
    assert [row["error"] for row in rows] == ["", "", ""]
    masks = {row["path"].rpartition("/")[2].removesuffix(".png"): row["mask"] for row in rows}
    assert masks.keys() == written.keys() == {"a", "b", "c"}
    for name, mask in masks.items():
        assert mask.shape == Image.open(drawn / f"{name}.png").size[::-1]
        np.testing.assert_allclose(mask * 255, written[name], atol=0.51)
