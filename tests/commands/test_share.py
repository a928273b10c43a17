import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open

import segtricks
from segtricks.cli import main
from segtricks.commands.earlier_run import with_earlier_run
from segtricks.errors import UserError
from segtricks.methods import Sempart
from segtricks.methods.earlier_run import load_earlier_run
from segtricks.scoring.results import read_results

from ..hub_server import TOKEN, serving

RUN = "hf://someone/shapes"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub that huggingface_hub takes for the real one, and caches of its own."""
    from huggingface_hub import constants

    with serving() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        template = f"{running.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def shared(hub, trained, monkeypatch, tmp_path):
    """The files of ``runs/small`` on the hub; the current folder is another one."""
    monkeypatch.chdir(trained)
    assert main(["share", "runs/small", "--to", "someone/shapes"]) == 0
    monkeypatch.chdir(tmp_path)
    return hub.commits["someone/shapes"][-1]


def _unreachable(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def test_a_shared_run_predicts_what_the_run_predicts_also_without_network(shared, trained, monkeypatch, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photos / "a.png")
    expected = segtricks.load_run(trained / "runs/small").masks(pixels)
    assert np.array_equal(segtricks.load_run(RUN).masks(pixels), expected)
    _unreachable(monkeypatch)
    assert main(["predict", "--run", RUN, "--images", "photos", "--output", "masks"]) == 0
    written = np.array(Image.open("masks/soft/a.png")) / 255
    np.testing.assert_allclose(written, expected, rtol=0, atol=1 / 255)


def test_a_training_starts_from_a_shared_run(shared, trained):
    configs, words = with_earlier_run(["u2seg_fewshot"], ["--model.from_run", RUN])
    folder = Path(words[-1])
    assert words == ["--model.from_run", RUN, "--model.from_run", str(folder)]
    assert configs == [str(folder / "config.yaml"), "u2seg_fewshot"]
    expected, module = (segtricks.load_run(trained / "runs/small") for _ in range(2))
    torch.nn.init.zeros_(module.head.fine.weight)
    load_earlier_run(module, str(folder), module.identity(), {})
    assert torch.equal(module.head.fine.weight, expected.head.fine.weight)


def test_a_path_is_an_address_too(shared):
    assert isinstance(segtricks.Predictor(Path(RUN)).model, Sempart)


def test_scores_of_a_shared_run_are_in_a_run_folder_of_the_current_one(shared, trained, tmp_path):
    shutil.copytree(trained / "runs/small", "own")
    shutil.rmtree("own/test")  # scores that other tests may have added
    assert main(["test", "--run", "own", "--data", "synthetic[14:18]"]) == 0
    expected = read_results(Path("own"))[0]
    for name, words in {"test-shapes-1": [], "mine": ["--name", "mine"]}.items():
        assert main(["test", "--run", RUN, "--data", "synthetic[14:18]", *words]) == 0
        (result,) = read_results(tmp_path / "runs" / name)[:1]
        assert result.run == name and result.images == 4
        assert result.metrics == pytest.approx(expected.metrics, abs=1e-6)
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_a_revision_stays_what_it_was(shared, hub, trained, tmp_path):
    first = hub.revision("someone/shapes", "main")
    module = segtricks.load_run(trained / "runs/small")
    torch.nn.init.zeros_(module.head.fine.weight)
    other = hub.commits["someone/shapes"][-1] | {"model.safetensors": _head_of(module, tmp_path / "other.safetensors")}
    hub.commits["someone/shapes"].append(other)
    assert not segtricks.load_run(RUN).head.fine.weight.any()
    assert segtricks.load_run(f"{RUN}@{first}").head.fine.weight.any()


def test_both_files_are_of_one_commit_though_the_branch_moves_between_them(shared, hub, monkeypatch):
    from huggingface_hub import HfApi

    ours = HfApi.hf_hub_download

    def slow(api, repository, name, **options):
        path = ours(api, repository, name, **options)
        hub.commits[repository].append(dict.fromkeys(shared, b"a run of another size"))
        return path

    monkeypatch.setattr(HfApi, "hf_hub_download", slow)
    assert segtricks.load_run(RUN).head.fine.weight.any()


def _head_of(module, path):
    from segtricks.training.head_files import write_head

    write_head(module, path)
    return path.read_bytes()


def test_the_files_hold_the_head_the_options_and_the_figures_and_no_folder_of_this_machine(shared, trained, tmp_path):
    assert set(shared) == {"model.safetensors", "config.yaml", "README.md"}
    assert not [name for name, content in shared.items() if str(trained).encode() in content]
    (tmp_path / "head.safetensors").write_bytes(shared["model.safetensors"])
    with safe_open(tmp_path / "head.safetensors", "pt") as file:
        assert file.metadata()["backbone"] == "descriptor4"
        assert not [name for name in file.keys() if name.startswith("backbone.")]  # noqa: SIM118 - not a mapping
    config = yaml.safe_load(shared["config.yaml"])
    assert set(config) == {"seed_everything", "model", "data", "provenance"}
    assert "optimizer" not in config["model"]["init_args"]
    assert set(config["data"]["init_args"]) == {"size", "multiple"}
    card = shared["README.md"].decode()
    assert "license" not in yaml.safe_load(card.split("---")[1])  # nobody has stated one
    assert "None was stated" in card
    results = [json.loads(path.read_text()) for path in (trained / "runs/small/test").glob("*.json")]
    scores = [f"{result['metrics']['iou']:.4f}" for result in results]  # other tests may have added theirs
    lines = [line for line in card.splitlines() if "mask + guided filter" in line]
    assert any("synthetic[14:18]" in line for line in lines)
    assert all(any(score in line for score in scores) for line in lines)
    assert f"--run {RUN} " in card


def test_a_folder_of_the_same_files_is_written_without_a_hub(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(trained)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    words = ["share", "runs/small", "--to", "someone/shapes", "--license", "mit"]
    assert main([*words, "--dry-run", str(tmp_path / "files")]) == 0
    assert {path.name for path in (tmp_path / "files").iterdir()} == {"model.safetensors", "config.yaml", "README.md"}
    header = (tmp_path / "files" / "README.md").read_text().split("---")[1]
    assert yaml.safe_load(header)["license"] == "mit"


def test_a_dry_run_overwrites_no_file_and_no_run(trained, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(trained)
    (tmp_path / "README.md").write_text("mine")
    config = (trained / "runs/small/config.yaml").read_bytes()
    for folder, name in {str(tmp_path): "README.md", "runs/small": "config.yaml"}.items():
        assert main(["share", "runs/small", "--to", "someone/shapes", "--dry_run", folder]) == 2
        said = capsys.readouterr().err
        assert f"{folder} holds {name} already" in said and "Next: pass a new folder" in said
    assert (tmp_path / "README.md").read_text() == "mine"
    assert (trained / "runs/small/config.yaml").read_bytes() == config
    assert not (trained / "runs/small/model.safetensors").exists()


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("hf://someone/other", "There is no hf://someone/other that you may read"),
        ("hf://someone/shapes@v9", "has no revision 'v9'"),
        ("hf://someone/empty", "is not a run that segtricks shared"),
        ("hf://shapes", "Next: write hf://OWNER/NAME"),
    ],
)
def test_a_run_that_cannot_be_fetched_is_two_lines_that_say_what_to_type(hub, run, said):
    hub.commits |= {"someone/empty": [{}], "someone/shapes": [{}]}
    with pytest.raises(UserError, match=said) as error:
        segtricks.load_run(run)
    assert "Next:" in str(error.value) and str(error.value).count("\n") <= 1


def test_without_network_or_token_or_right_sharing_says_what_to_do(hub, trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    words = ["share", "runs/small", "--to"]
    assert main([*words, "others/shapes"]) == 2
    assert "a token that may write to others" in capsys.readouterr().err
    _unreachable(monkeypatch)
    assert main([*words, "someone/shapes"]) == 2
    assert "cannot be reached" in capsys.readouterr().err
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert main([*words, "someone/shapes"]) == 2
    assert "set HF_TOKEN" in capsys.readouterr().err


def test_a_private_run_is_read_with_a_token_alone(hub, shared, monkeypatch):
    hub.private.add("someone/shapes")
    segtricks.load_run(RUN)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(UserError, match="for a private one log in"):
        segtricks.load_run(f"{RUN}@main")


def test_code_that_a_config_on_the_hub_names_is_not_imported(shared, hub, tmp_path, monkeypatch):
    (tmp_path / "traps.py").write_text("from pathlib import Path\nPath('sprung').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = shared["config.yaml"].replace(b"backbone: descriptor4", b"backbone: traps:Net")
    assert config != shared["config.yaml"]
    segtricks.load_run(RUN)
    hub.commits["someone/shapes"].append(shared | {"config.yaml": config})
    for _ in range(2):
        with pytest.raises(UserError, match="traps:Net is not part of segtricks"):
            segtricks.load_run(RUN)
    assert not (tmp_path / "sprung").exists()
