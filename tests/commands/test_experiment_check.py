import io
import json

import pytest

from segtricks.commands import experiment_check
from segtricks.commands.experiment_check import check_runs
from segtricks.errors import UserError
from segtricks.experiments.plan import Run

GOOD = ("--model.backbone", "descriptor", "--data.train", "synthetic[:20]")


def run(name, *words, command="fit", config="sempart", data=("synthetic[:4]",)):
    return Run(name, name, command, config, words, data, "fullres", 0 if command == "fit" else None)


def check(monkeypatch, *runs, files=True):
    """The look at the runs, in this process."""

    def here(words, input, **_):
        monkeypatch.setattr("sys.stdin", io.StringIO(input))
        asked.append(json.loads(input))
        experiment_check.main()
        return type("Done", (), {"returncode": 0})

    asked = []
    monkeypatch.setattr(experiment_check.subprocess, "run", here)
    check_runs(runs, files)
    return asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model.tauu", "1"), "second: Unknown option tauu. Did you mean model.tau"),
        (("--model.crop_fraction", "abc"), "second: model.crop_fraction must be a number, got 'abc'"),
        (("--model.backbone_checkpoint", "weights/x.pth"), "there is no file weights/x.pth"),
        (("--data.train", "nowhere"), "second: .*nowhere"),
        (("--data.root", "nowhere", "--data.train", "duts-tr"), "segtricks data download duts-tr"),
    ],
)
def test_the_first_mistake_is_told_with_its_run(monkeypatch, words, said):
    with pytest.raises(UserError, match=said):
        check(monkeypatch, run("first", *GOOD), run("second", *GOOD, *words), run("third", "--nonsense", "1"))


def test_runs_that_differ_in_their_seed_are_looked_at_once_and_masks_not_at_all(monkeypatch):
    two = [run(f"a-s{seed}", *GOOD) for seed in (0, 1)]
    asked = check(
        monkeypatch, *two, run("masks", command="masks", config="DIR"), run("b", command="test", config="lost")
    )
    assert [name for name, *_ in asked[0][1]] == ["a-s0", "b"]
    assert check(monkeypatch, run("masks", command="masks", config="DIR")) == []


def test_test_sets_are_looked_for(monkeypatch):
    with pytest.raises(UserError, match=r"free: .*nowhere"):
        check(monkeypatch, run("free", command="test", config="lost", data=("nowhere",)))


def test_files_may_be_on_other_machines_but_options_may_not(monkeypatch):
    elsewhere = ("--data.train", "nowhere", "--model.backbone_checkpoint", "x.pth")
    check(monkeypatch, run("a", *elsewhere), files=False)
    with pytest.raises(UserError, match="Unknown option tauu"):
        check(monkeypatch, run("a", *elsewhere, "--model.tauu", "1"), files=False)


def test_a_mistake_starts_nothing_and_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from segtricks.cli import main

    assert main(["experiment", "mini_synthetic", "--model.tauu", "1"]) == 2
    assert capsys.readouterr().err == (
        "segtricks: plain-s0: Unknown option tauu. Did you mean model.tau?\n"
        "Next: segtricks fit --help lists every option.\nNothing was started.\n"
    )
    assert not list(tmp_path.iterdir())
