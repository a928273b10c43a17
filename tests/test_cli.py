import logging
import re
import subprocess
import sys

from tqdm import tqdm

import segtricks
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
