import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.cli import main

SMALL = [
    *("--config", "synthetic", "--data.size", "32", "--data.batch_size", "4", "--model.hidden_dim", "8"),
    *("--data.train", "synthetic[:14]", "--data.held_out", "2", "--data.test", "['synthetic[14:18]']"),
    *("--trainer.max_epochs", "2", "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1"),
]


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def trained(tmp_path_factory):
    """Folder in which ``runs/small`` was trained for six steps."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *SMALL, "--name", "small"]) == 0
    return folder


@pytest.fixture(scope="package")
def drawn(tmp_path_factory):
    """Folder of three photographs, two of them of one size."""
    folder = tmp_path_factory.mktemp("drawn")
    random = np.random.default_rng(0)
    for name, size in {"a": (30, 46), "b": (46, 30), "c": (30, 46)}.items():
        Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="package")
def written(trained, drawn, tmp_path_factory):
    """The soft masks, 0 to 255, that ``segtricks predict`` writes of the drawn photographs, by name."""
    folder = tmp_path_factory.mktemp("written")
    run = str(trained / "runs/small")
    assert main(["predict", "--run", run, "--images", str(drawn), "--output", str(folder)]) == 0
    return {path.stem: np.asarray(Image.open(path)) for path in (folder / "soft").glob("*.png")}
