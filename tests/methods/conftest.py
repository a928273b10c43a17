import pytest

from segtricks.cli import main
from segtricks.training.checkpoints import read_checkpoint


@pytest.fixture
def whole_and_resumed(tmp_path, monkeypatch):
    """Train in one go, and again with a stop before the fourth step; return the last checkpoints of both."""

    def train(method, words):
        monkeypatch.chdir(tmp_path)
        assert main(["fit", *words]) == 0
        run = tmp_path / "runs/run"
        whole = read_checkpoint(run / "checkpoints/last.ckpt")
        run.rename(tmp_path / "runs/whole")
        step = method.training_step

        def stopped(module, batch, index):
            if module.global_step == 3:
                raise KeyboardInterrupt
            return step(module, batch, index)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(method, "training_step", stopped)
            assert main(["fit", *words]) != 0
        assert main(["fit", *words, "--resume"]) == 0
        return whole, read_checkpoint(run / "checkpoints/last.ckpt")

    return train
