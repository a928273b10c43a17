import pytest
import torch
import yaml

from segtricks.cli import main
from segtricks.commands.lightning_cli import SegtricksCLI
from segtricks.commands.parser import chosen_method
from segtricks.errors import UserError
from segtricks.methods import Found, Sempart

from .conftest import SMALL

TINY = ["--model.backbone", "descriptor4", "--data.train", "synthetic[:9]", "--data.test", "[]", "--data.size", "32"]


@pytest.fixture
def config(tmp_path):
    """Write a config that names a method and nothing else of it, and return the words for it."""

    def config(name, model):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"model": model}))
        return ["--config", str(path)]

    return config


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--trainer.precision 16-true", "needs a GPU, and this run is on the CPU.\nNext: pass --trainer.precision 32"),
        ("--data.resize 100000", "data.resize is 100000: it lies in 1 to 8,192, for example --data.resize 335."),
        ("--data.size 100000", "data.size is 100000: it lies in 1 to 8,192"),
        ("--data.num_workers 10000000", "data.num_workers is 10000000: it lies in 0 to 1,024"),
        ("--max_bad_share 7", "max_bad_share is 7.0: it lies in 0 to 1, for example --max_bad_share 0.01."),
        ("--panels -1", "panels is -1: it lies in 0 to 1,000"),
        ("--save_every -3", "save_every is -3: it lies in 0 to"),
        ("--seed_everything -1", "seed_everything is -1: it lies in 0 to 4,294,967,295"),
        ("--trainer.max_epochs 0", "nothing would be trained. Pass 1 or more, for example --trainer.max_epochs 5"),
        ("--trainer.precision transformer-engine", "transformer_engine"),
        ("--on_collapse maybe", "on_collapse must be warn or stop, got 'maybe'"),
    ],
)
def test_value_out_of_range_is_told_with_its_range_and_an_example(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *SMALL, *words.split()]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) <= 2
    assert not (tmp_path / "runs").exists()


def test_method_named_last_starts_from_its_own_defaults_and_not_from_those_of_another(config):
    cli = SegtricksCLI([*config("bare", {"class_path": "segtricks.methods.Sempart"}), *TINY])
    assert cli.config.model.init_args.guided_filter is True
    assert cli.config.model.init_args.optimizer.init_args.lr == 1e-4
    # pretrained weights of a ViT are not needed to parse
    model = {"class_path": "segtricks.methods.Found", "init_args": {"backbone": "dino_vits8", "pretrained": False}}
    options = SegtricksCLI([*config("found", model), "--model.optimizer.weight_decay", "0"]).config.model.init_args
    assert options.guided_filter is False, "Sempart's default is true"
    assert options.optimizer.init_args.lr == 0.05, "Sempart's default is 1e-4"


@pytest.mark.parametrize(
    ("models", "words", "method"),
    [
        ([], [], None),
        (["Found"], [], Found),
        ([{"class_path": "segtricks.methods.Found"}, {"init_args": {"seed": 1}}], [], Found),
        ([{"class_path": "Found"}, {"class_path": "segtricks.methods.sempart.Sempart"}], [], Sempart),
        (["Found"], ["--model", "Sempart"], Sempart),
        (["Sempart"], ["--model.class_path=Found"], Found),
        ([], ["--model", "Nobody"], None),
    ],
)
def test_last_word_on_the_method_counts(config, models, words, method):
    configs = [word for i, model in enumerate(models) for word in config(str(i), model)]
    assert chosen_method([*configs, *words]) is method


def test_one_seed_gives_bit_equal_weights_twice_and_another_seed_others(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ["--config", str(trained / "runs/small/config.yaml"), "--test", "none"]
    assert main(["fit", *config, "--name", "again"]) == 0
    assert main(["fit", *config, "--name", "other", "--seed_everything", "4"]) == 0
    first, again, other = (
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in (trained / "runs/small", tmp_path / "runs/again", tmp_path / "runs/other")
    )
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_data_module_that_lacks_something_is_refused_with_what_it_lacks(tmp_path, monkeypatch):
    (tmp_path / "bare_data.py").write_text(
        "from lightning.pytorch import LightningDataModule\n\n\nclass Bare(LightningDataModule):\n    size = 32\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        UserError, match=r"Bare cannot be used as data.class_path: it lacks test, root,.* test_datasets"
    ):
        SegtricksCLI(["--model", "Sempart", "--model.backbone", "descriptor", "--data", "bare_data.Bare"])
