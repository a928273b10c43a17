import logging
import os
import re
import subprocess
import sys

import pytest
from tqdm import tqdm

import segtricks
from segtricks import cli
from segtricks.cli import COMMANDS, HELP, main


def test_help_names_every_command_and_imports_nothing_heavy():
    code = "import sys; from segtricks.cli import main; main(['--help']); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"segtricks {command} " in result.stdout for command in COMMANDS)
    assert result.stdout.splitlines()[-1] == "False"


def test_no_word_at_all_shows_the_help(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out == HELP


def test_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"segtricks {segtricks.__version__}\n"


def test_unknown_command_lists_the_known_and_is_no_traceback(capsys):
    assert main(["tarin"]) == 2
    error = capsys.readouterr().err
    assert "Unknown command 'tarin'" in error
    assert "fit" in error
    assert error.count("\n") == 2


def test_warnings_are_lines_of_their_own_and_come_once(capsys):
    for _ in range(2):
        assert main(["--version"]) == 0
    with tqdm(total=2, file=sys.stderr) as bar:
        bar.update()
        logging.getLogger("segtricks.anything").warning("odd.png: an odd file")
    lines = re.split(r"[\r\n]+", capsys.readouterr().err)
    assert lines.count("odd.png: an odd file") == 1


@pytest.mark.parametrize(
    ("death", "status", "said"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Terminated. ", 130, "segtricks: stopped"),
        (
            "DataLoader worker (pid 7) is killed by signal: Killed. ",
            2,
            "was killed (Killed), most likely because memory",
        ),
        ("DataLoader worker (pid(s) 7) exited unexpectedly", 2, "A reading process ended unexpectedly."),
    ],
)
@pytest.mark.parametrize("buried", [False, True])
def test_the_end_of_a_reading_process_is_told_by_its_signal(monkeypatch, capsys, death, status, said, buried):
    def work(*_):
        if not buried:
            raise RuntimeError(death)
        raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly") from RuntimeError(death)

    monkeypatch.setattr(cli, "_run", work)
    assert main(["discover"]) == status
    error = capsys.readouterr().err
    assert said in error
    assert (status == 130) == ("num_workers" not in error)


@pytest.mark.parametrize(
    "bar",
    [
        "from tqdm import tqdm; list(tqdm(range(3), desc='photographs', disable=None))",
        "from segtricks.training.bar import TrainingBar as B; B().init_train_tqdm().set_description('photographs')",
    ],
    ids=["tqdm", "Lightning"],
)
def test_a_terminal_without_rows_still_shows_bars(bar):
    pty = pytest.importorskip("pty")  # not on Windows
    ours, theirs = pty.openpty()  # of 0 rows and columns
    code = f"from segtricks.cli import main; main(['--version']); {bar}"
    subprocess.run([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    assert b"photographs" in os.read(ours, 10_000)
