"""The errors that are shown without a traceback."""

import re
import sys
from pathlib import Path


class UserError(ValueError):
    """A mistake in options, files or data that the user can fix, described in one or two lines.

    The message says what was wrong, what is allowed and, where there is one, the command to type next.
    ``segtricks.cli`` prints it without a traceback and exits with ``status``; Python callers see a ``ValueError``.
    """

    status = 2


class Stopped(UserError):
    """The user interrupted a run; the message says how to go on."""

    status = 130


def worker_death(error: BaseException | None) -> str | None:
    """Return the signal that killed a reading process (``Terminated``, ``Killed``, …) where that is the error.

    It is empty where the process ended in another way, and None where the error is about something else.
    """
    text = f"{error} {getattr(error, '__cause__', '')}"
    if "DataLoader worker" not in text:
        return None
    killed = re.search(r"killed by signal: ([\w ]+)", text)
    return killed[1] if killed else ""


def path_hint(module: str) -> str:
    """Return a further line where a module that could not be imported lies in the current folder, else nothing.

    Python looks there only when asked to: a folder of photographs from anywhere may hold a file of any name.
    """
    if (Path(f"{module}.py").is_file() or Path(module, "__init__.py").is_file()) and str(Path.cwd()) not in sys.path:
        return f"\nThere is a {module} in this folder, which Python does not search. Next: export PYTHONPATH=."
    return ""
