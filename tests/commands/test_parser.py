import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from segtricks.cli import main
from segtricks.commands.parser import explain

OPTIONS = ["config", "model.tau", "model.teacher", "model.refiner.radius", "data.batch_size", "trainer.max_epochs"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Option 'tao' is not accepted", "Did you mean model.tau?"),
        (
            "Group 'trainer' does not accept option 'max_epocs'",
            "Unknown option trainer.max_epocs. Did you mean trainer.m",
        ),
        ("unrecognized arguments: --refiner.radus=3", "Did you mean model.refiner.radius?"),
        ("unrecognized arguments: foo", "Unexpected word 'foo': options begin with --"),
        (
            "Parser key \"batch_size\":\n  Expected a <class 'int'>. Got value: x",
            "data.batch_size must be a whole number, got 'x'.",
        ),
        (
            "Parser key \"teacher\":\n  Expected a typing.Literal['shared', 'ema']. Got value: foo",
            "model.teacher must be shared or ema, got 'foo'.",
        ),
        (
            "Parser key \"tau\":\n  Errors:\n    - Expected a <class 'float'>\n    - Expected a <class 'NoneType'>\n"
            "  Given value type: <class 'str'>\n  Given value: abc",
            "model.tau must be a number or null, got 'abc'.",
        ),
        ("Expected a dot import path string: Sempat", "Discovery, Found, "),
        ("something\n  never seen\n before", "something never seen before"),
    ],
)
def test_each_kind_of_message_becomes_what_was_wrong_and_what_is_legal(message, said):
    told = explain(message, OPTIONS)
    assert said in told
    assert len(told.splitlines()) <= 2


def test_class_that_runs_commands_is_refused_by_name():
    assert explain("Importing 'os.system' is not allowed, denied by the 'os' entry", OPTIONS).startswith("'os.system' ")


BACKBONE = "from segtricks.backbones import Backbone\nclass Own(Backbone):\n"
METHOD = "from segtricks.methods import SegmentationModule\nclass Own(SegmentationModule):\n"
BROKEN = "    def __init__(self, **options):\n        self.nothing.here\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module name that no other test has, to lie in the current folder."""
    monkeypatch.chdir(tmp_path)
    name = f"mine_{uuid.uuid4().hex}"
    yield name
    sys.modules.pop(name, None)


def fit(*words, path=""):
    """A fit in a process of its own: a method that is imported is known to all later tests."""
    command = [sys.executable, "-c", "from segtricks.cli import main; import sys; sys.exit(main())", "fit", *words]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}, capture_output=True)
    return done.returncode, done.stderr.decode()


def test_error_in_a_backbone_of_the_users_is_told_with_its_line(tmp_path, monkeypatch, capsys, module):
    Path(f"{module}.py").write_text(BACKBONE + BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["fit", "--config", "synthetic", "--model.backbone", f"{module}:Own"]) == 2
    assert capsys.readouterr().err == (
        "segtricks: AttributeError: 'Own' object has no attribute 'nothing'\n"
        f"In {tmp_path}/{module}.py, line 4: self.nothing.here\n"
    )


def test_backbone_in_the_current_folder_is_not_imported_unasked_but_pointed_at(capsys, module):
    Path(f"{module}.py").write_text(BACKBONE + "    pass\n")
    assert main(["fit", "--config", "synthetic", "--model.backbone", f"{module}:Own"]) == 2
    told = f"There is a {module} in this folder, which Python does not search. Next: export PYTHONPATH=."
    assert told in capsys.readouterr().err
    assert module not in sys.modules


def test_error_in_a_method_of_the_users_is_told_with_its_line_and_one_that_is_not_found_pointed_at(tmp_path, module):
    Path(f"{module}.py").write_text("import nowhere\n" + METHOD + BROKEN)
    words = ["--config", "synthetic", "--model.class_path", f"{module}.Own"]
    status, told = fit(*words)
    assert (status, f"There is a {module} in this folder" in told) == (2, True), told
    status, told = fit(*words, path=str(tmp_path))
    assert status == 2
    assert told == (
        "segtricks: ModuleNotFoundError: No module named 'nowhere'\n"
        f"In {tmp_path}/{module}.py, line 1: import nowhere\n"
    )


def test_allowed_options_are_those_of_the_method_at_hand(capsys):
    assert main(["test", "--config", "tokencut", "--model.xyz", "key"]) == 2
    error = capsys.readouterr().err
    assert "Unknown option model.xyz." in error
    assert "model.k," in error
    assert "model.crop_fraction" not in error


@pytest.mark.parametrize("command", ["fit", "test", "discover"])
def test_the_list_of_options_is_that_of_the_command(tmp_path, capsys, command):
    words = ["--images", str(tmp_path), "--output", "out"] if command == "discover" else ["--config", "tokencut"]
    (tmp_path / "a.png").write_bytes(b"")
    assert main([command, *words, "--nosuch", "1"]) == 2
    assert f"segtricks {command} --help" in capsys.readouterr().err
