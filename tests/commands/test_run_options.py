import inspect

import pytest
from lightning.pytorch import LightningDataModule, Trainer

from segtricks import data, methods
from segtricks.commands.run_options import check_run_words, run_option_names
from segtricks.errors import UserError
from segtricks.packaged import find_config


def test_options_read_from_source_are_those_of_the_classes():
    kinds = {"trainer": [Trainer], "model": [], "data": []}
    found = [getattr(methods, name) for name in methods.__all__]
    kinds["model"] = [kind for kind in found if issubclass(kind, methods.SegmentationModule)]
    kinds["data"] = [getattr(data, name) for name in data.__all__ if name.endswith("DataModule")]
    assert all(issubclass(kind, LightningDataModule) for kind in kinds["data"])
    taken = {
        f"{group}.{name}"
        for group, classes in kinds.items()
        for kind in classes
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    assert len(taken) > 100
    assert taken - set(run_option_names()) == set()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--model.tua 3", "model.tau"),
        ("--data.siez=3", "data.size"),
        ("--trainer.max_epoch 3", "trainer.max_epochs"),
        ("--max_epoch 3", "trainer.max_epochs"),
        ("--wadnb off", "--wandb"),
    ],
)
def test_misspelt_option_is_told_with_the_one_that_is_meant(words, meant):
    with pytest.raises(UserError, match=f"Did you mean {meant}[?]\nNext: segtricks fit --help"):
        check_run_words("fit", words.split(), [find_config("demo")])


@pytest.mark.parametrize(
    "words",
    [
        "--model.tau 3 --data.test=[ecssd] --trainer.callbacks+=X --seed_everything 1 --cache_features --cache-dir x",
        "--model.refiner.radius 3 --model.init_args.tua 3 --model segtricks.methods.Found",
        "--model mine.Method --model.tua 3",
        "--data.class_path=mine.Data --data.siez 3",
        "--model.nothing_like_it 3",
    ],
)
def test_what_may_be_right_is_left_to_the_parser_of_all_options(words):
    check_run_words("fit", words.split(), [find_config("demo")])


def test_config_with_a_class_of_the_users_leaves_everything_to_the_parser(tmp_path):
    (tmp_path / "a.yaml").write_text("model:\n  class_path: mine.Method\n")
    check_run_words("fit", ["--model.tua", "3"], [tmp_path / "a.yaml"])
