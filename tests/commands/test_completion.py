import shutil
import subprocess

import pytest

from segtricks.cli import COMMANDS, main
from segtricks.commands.completion import completion_script


def _completed(script, *words):
    """What bash offers for the last of the words."""
    code = f"""{script}
COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
_segtricks
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture(scope="module")
def bash():
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    return completion_script("bash", COMMANDS)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["segtricks", "pre"], ["predict"]),
        (["segtricks", "''"], list(COMMANDS)),
        (["segtricks", "data", "ver"], ["verify"]),
        (["segtricks", "predict", "--over"], ["--overwrite"]),
        (["segtricks", "fit", "--config", "demo", "--model.tau"], ["--model.tau"]),
        (["segtricks", "evaluate", "--model"], []),
        (["segtricks", "refine", "--rad"], ["--radius"]),
        (["segtricks", "evaluate", "--targets", "a"], []),
    ],
    ids=lambda value: " ".join(value) if value[:1] == ["segtricks"] else "",
)
def test_bash_offers_commands_their_words_and_options(bash, words, offered):
    assert _completed(bash, *words) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_of_their_own(shell, capsys, tmp_path):
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in COMMANDS)
    assert ("-l model.tau" if shell == "fish" else "--model.tau") in script
    if shutil.which(shell) is not None:
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_unknown_shell_is_told_what_there_is(capsys):
    assert main(["--print-completion", "tcsh"]) == 2
    assert capsys.readouterr().err.endswith("Next: segtricks --print-completion bash, zsh or fish\n")
