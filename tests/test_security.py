"""Files and configs from elsewhere run no code, and what leaves the machine names neither keys nor folders.

Archives that try to leave their folder: ``tests/data/test_unpack.py``. Checksums of downloads:
``tests/data/test_download.py``. What the HTML page escapes: ``tests/reports/test_page.py``.
"""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch
import wandb
import yaml

from segtricks.backbones import create_backbone
from segtricks.cli import main
from segtricks.commands.parser import chosen_method
from segtricks.data.store import ImageCache
from segtricks.errors import UserError
from segtricks.heads import load_original_head
from segtricks.heads.found import load_found_head

SMALL = [
    *("--config", "synthetic", "--data.size", "32", "--data.batch_size", "4", "--model.hidden_dim", "8"),
    *("--data.train", "synthetic[:6]", "--data.held_out", "2", "--trainer.max_epochs", "1"),
    *("--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1"),
]
KEY = "0123456789abcdef0123456789abcdef01234567"


class Attack:
    """Unpickled, it makes the folder ``was-run``."""

    def __reduce__(self):
        return os.mkdir, ("was-run",)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, in which afterwards no code has been run."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "was-run").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *SMALL, "--data.test", "[]", "--name", "x"]) == 0
    return folder / "runs/x"


def test_the_attack_of_these_tests_works_where_nobody_guards_against_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "extra": Attack()}, "x.ckpt")
    torch.load("x.ckpt", weights_only=False)
    assert (tmp_path / "was-run").is_dir()


@pytest.mark.parametrize(
    "words",
    [
        ["test", "--config", "synthetic", "--ckpt_path", "evil.ckpt", "--data", "synthetic[:2]"],
        ["test", "--run", "runs/x", "--data", "synthetic[:2]"],
        ["validate", "--run", "runs/x"],
        ["predict", "--run", "runs/x", "--images", "photos", "--output", "masks"],
        ["fit", "--resume", "--name", "x"],
    ],
)
def test_commands_refuse_a_checkpoint_with_code_in_it(here, trained, capsys, words):
    shutil.copytree(trained, here / "runs/x")
    (here / "photos").mkdir()
    (here / "photos/a.png").touch()
    content = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    torch.save(content | {"extra": Attack()}, "evil.ckpt")
    for name in ("last", "best"):
        shutil.copy("evil.ckpt", here / "runs/x/checkpoints" / f"{name}.ckpt")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "is damaged or holds more than tensors" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize(
    "load",
    [
        lambda path: create_backbone("vit_tiny_patch16_224", checkpoint=path),
        load_original_head,
        load_found_head,
    ],
    ids=["backbone", "authors' head", "FOUND head"],
)
def test_weights_with_code_in_them_are_refused(here, load, name):
    with open(name, "wb") as file:
        pickle.dump({key: {"weight": Attack()} for key in ("teacher", "segmenter_state_dict", "decoder")}, file)
    with pytest.raises(UserError, match=name):
        load(name)
    torch.save({"decoder": Attack(), "segmenter_state_dict": Attack(), "model": Attack()}, name)
    with pytest.raises(UserError, match=name):
        load(name)


def test_cache_entry_with_code_in_it_is_made_again(here):
    cache = ImageCache(here / "cache", 4)
    photo = here / "photo.png"
    photo.write_bytes(b"any content")
    entry = cache.entry(photo)
    entry.parent.mkdir(parents=True)
    np.save(entry, np.array([Attack()], dtype=object), allow_pickle=True)
    made = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
    assert torch.equal(cache.get(photo, lambda: made), made)
    assert np.load(entry).shape == (3, 4, 4)


@pytest.mark.parametrize(
    "text",
    [
        "model: !!python/object/apply:os.mkdir [was-run]",
        "data: {init_args: {train: !!python/object/new:os.mkdir [was-run]}}",
        "seed_everything: !!python/name:os.mkdir",
    ],
)
def test_config_with_python_objects_is_no_yaml(here, capsys, text):
    (here / "evil.yaml").write_text(text)
    assert main(["fit", "--config", "synthetic", "evil.yaml"]) == 2
    assert "evil.yaml, line 1 is not valid YAML" in capsys.readouterr().err
    with pytest.raises(yaml.YAMLError):
        chosen_method(["--config", "evil.yaml"])


@pytest.mark.parametrize("option", ["--model.weights", "--data.jitter", "--model.optimizer", "--seed_everything"])
def test_option_with_a_python_object_is_a_wrong_value(here, capsys, option):
    assert main(["fit", *SMALL, option, "!!python/object/apply:os.mkdir [was-run]", "--name", "x"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("place", ["model", "data", "model.optimizer", "model.lr_scheduler", "trainer.callbacks"])
@pytest.mark.parametrize("name", ["os.mkdir", "subprocess.Popen", "builtins.eval", "segtricks.data.ImageFolder"])
def test_class_of_a_config_is_of_the_kind_that_belongs_there(here, capsys, place, name):
    """A method, data module, optimiser … of anybody's may be named, and its module is imported: a config is code.

    What is no such class is never called, and what starts processes or runs text is not even imported.
    """
    assert main(["fit", *SMALL, f"--{place}", name]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert name in error


@pytest.fixture
def own_service():
    """W&B's background process keeps the folder and environment that it was started in."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.usefixtures("own_service")
def test_no_key_is_written_and_no_folder_of_this_machine_leaves_it(tmp_path, monkeypatch):
    home = tmp_path / "home/alice"
    shown = home / "secret-project/data"
    shown.mkdir(parents=True)
    monkeypatch.chdir(home)
    for name, value in {"HOME": str(home), "WANDB_API_KEY": KEY, "HF_TOKEN": KEY, "USER": "alice"}.items():
        monkeypatch.setenv(name, value)
    words = ["--data.root", str(shown), "--data.cache_dir", str(shown), "--data.test", "synthetic[:2]", "--name", "x"]
    assert main(["fit", *SMALL, *words, "--wandb", "offline"]) == 0
    assert main(["report", "runs/x"]) == 0
    files = [path for path in (home / "runs").rglob("*") if path.is_file()]
    assert [path.name for path in files if KEY.encode() in path.read_bytes()] == []
    # A config must name its folders, and so must results that are read on the spot; what others see must not.
    outside = {path: path.read_bytes() for path in files if path.suffix == ".html" or "wandb" in path.parts}
    assert {".wandb", ".html"} <= {path.suffix for path in outside}
    staging = f"{home}/runs/x/wandb/".encode()  # where W&B keeps tables until they are sent
    named = [path.name for path, content in outside.items() if str(home).encode() in content.replace(staging, b"")]
    assert named == []
    assert [path.name for path, content in outside.items() if b"secret-project" in content] == []
    assert str(shown) in (home / "runs/x/config.yaml").read_text()
