"""``segtricks --print-completion bash|zsh|fish``: a script by which a shell completes commands and their options."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType

from segtricks.commands.options import LIST_OPTIONS, OptionNames
from segtricks.commands.run_options import run_option_names
from segtricks.errors import UserError

_WITH_RUN_OPTIONS = ("fit", "validate", "test", "predict", "discover")
_WITH_COMMANDS = ("data", "weights")


@dataclass(frozen=True)
class Completed:
    """What may follow a command: words right after it, and options."""

    words: list[str]
    options: list[str]


def completion_script(shell: str, commands: Iterable[str]) -> str:
    """Return the script for a shell.

    Raises:
        UserError: there is none for this shell.
    """
    writers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    if shell not in writers:
        raise UserError(
            f"No completion for {shell or 'a shell without a name'}. Next: segtricks --print-completion bash, "
            "zsh or fish"
        )
    return writers[shell]({command: _completed(command) for command in commands})


def _completed(command: str) -> Completed:
    module = importlib.import_module(f"segtricks.commands.{command}")
    words = list(module.COMMANDS) if command in _WITH_COMMANDS else []
    options = set(_options(module, [])) if not words else set()
    for word in words:
        options.update(_options(module, [word]))
    if command in _WITH_RUN_OPTIONS:
        options |= {f"--{name}" for name in run_option_names()}
    return Completed(words, sorted(options))


def _options(module: ModuleType, words: list[str]) -> list[str]:
    """The options of a command's own parser."""
    try:
        module.main([*words, LIST_OPTIONS])
    except OptionNames as found:
        return found.names
    raise AssertionError(f"{module.__name__} has no OptionParser")


def _bash(completed: Mapping[str, Completed]) -> str:
    cases = "\n".join(
        f'        {command}) words="{" ".join(each.words)}" options="{" ".join(each.options)}" ;;'
        for command, each in completed.items()
    )
    return f"""\
_segtricks() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" words="" options=""
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    if [[ $COMP_CWORD -eq 1 ]]; then
        words="{" ".join(completed)}"
    elif [[ $current == -* ]]; then
        words="$options"
    elif [[ $COMP_CWORD -ne 2 ]]; then
        words=""
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _segtricks segtricks
"""


def _zsh(completed: Mapping[str, Completed]) -> str:
    cases = "\n".join(
        f"    {command}) next=({' '.join(each.words)}) options=({' '.join(each.options)}) ;;"
        for command, each in completed.items()
    )
    return f"""\
#compdef segtricks
local -a next options
if (( CURRENT == 2 )); then
    compadd -- {" ".join(completed)}
    return
fi
case $words[2] in
{cases}
esac
if [[ $PREFIX == -* ]]; then
    compadd -- $options
elif (( CURRENT == 3 && $#next )); then
    compadd -- $next
else
    _files
fi
"""


def _fish(completed: Mapping[str, Completed]) -> str:
    lines = [f"complete -c segtricks -f -n __fish_use_subcommand -a '{' '.join(completed)}'"]
    for command, each in completed.items():
        seen = f"complete -c segtricks -n '__fish_seen_subcommand_from {command}'"
        if each.words:
            lines.append(f"{seen} -a '{' '.join(each.words)}'")
        lines += [f"{seen} -l {option[2:]}" for option in each.options]
    return "\n".join([*lines, ""])
