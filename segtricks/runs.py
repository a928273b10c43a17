"""The run folder: where it lies, what it is called and how files get into it."""

import csv
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segtricks.errors import UserError
from segtricks.parallel import place

RUNS = Path("runs")
METRICS = "metrics.csv"
_CHOSEN = "SEGTRICKS_RUN"
PREVIOUS = "last-1"
"""The checkpoint that was ``last`` before the last one."""


def new_run(name: str | None, config_name: str, resumable: bool = True) -> Path:
    """Return the folder of a new run, not yet made: ``runs/NAME``, or the config's name and the next free number.

    ``resumable`` says whether ``--resume`` is a way to go on in a folder that is there.

    Raises:
        UserError: if the name is taken or is not a plain folder name.
    """
    if name is None:
        taken = [re.fullmatch(rf"{re.escape(config_name)}-(\d+)", path.name) for path in _runs()]
        return RUNS / f"{config_name}-{max((int(match[1]) for match in taken if match), default=0) + 1}"
    check_name(name)
    check_unused(RUNS / name, resumable)
    return RUNS / name


def is_begun(run: Path) -> bool:
    """Tell whether a run has written anything into its folder.

    One that was killed before may have left the folder, with hidden files in it: nothing is lost if it begins again.
    """
    if not run.is_dir():
        return run.exists()
    return any(not path.name.startswith(".") for path in run.iterdir())


def check_unused(run: Path, resumable: bool = True) -> None:
    """Raise a ``UserError`` if a run has begun in this folder; ``resumable`` as of ``new_run``."""
    if is_begun(run):
        resume = "add --resume to continue it, or " if resumable else ""
        raise UserError(f"The run {run} exists and is not overwritten. Next: {resume}pass another --name.")


def new_run_of_all(name: str | None, config: str, resumable: bool = True) -> Path:
    """Return the folder of a new run, the same one in all processes of a command.

    Raises:
        UserError: as of ``new_run``; or a launcher has started several processes and no ``name`` is given.
    """
    rank, world = place()
    if rank > 0 and _CHOSEN in os.environ:
        return Path(os.environ[_CHOSEN])
    if world > 1 and name is None:
        raise UserError("Several processes work on one run: pass --name NAME, so that they agree on it.")
    if rank > 0 and name is not None:  # the first process may have made the folder by now
        check_name(name)
        return RUNS / name
    return new_run(name, config, resumable)


@contextmanager
def chosen_run(run: Path) -> Iterator[None]:
    """Pass the folder of a run to the processes that Lightning starts meanwhile."""
    os.environ[_CHOSEN] = str(run)
    try:
        yield
    finally:
        del os.environ[_CHOSEN]


def existing_run(path: str | Path) -> Path:
    """Return the run folder ``path``, which may leave out ``runs/``.

    Raises:
        UserError: if it is not a run; the message lists the newest ones.
    """
    for candidate in (Path(path), RUNS / path):
        if (candidate / "config.yaml").is_file():
            return candidate
    runs = [config.parent for pattern in ("*", "*/*") for config in RUNS.glob(f"{pattern}/config.yaml")]
    newest = sorted(runs, key=lambda run: run.stat().st_mtime, reverse=True)[:5]
    known = ", ".join(map(str, newest)) or f"none under {RUNS.resolve()}"
    raise UserError(f"No run at {path}: it holds no config.yaml. Runs here: {known}.")


@contextmanager
def hold_run(run: Path) -> Iterator[None]:
    """Hold a run folder, so that no second process trains in it.

    The lock is the process's own: it ends with it, however that ends, and a loader's workers do not inherit it.

    Raises:
        UserError: another process holds it.
    """
    with hold(run / ".lock", f"{run} is being trained by another process.\nNext: wait for it, or pass --name."):
        yield


@contextmanager
def hold(path: Path, refusal: str, inherited: bool = False) -> Iterator[int | None]:
    """Hold a lock file, and yield its descriptor; None on Windows, where no child inherits it.

    Args:
        path: the file, whose content is of no account.
        refusal: the message if another process holds it.
        inherited: whether children to which the descriptor is passed hold it too.

    Raises:
        UserError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        with _hold_without_fcntl(path, refusal):
            yield None
        return
    with path.open("w") as file:
        try:
            (fcntl.flock if inherited else fcntl.lockf)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(refusal) from None
        yield file.fileno()


@contextmanager
def _hold_without_fcntl(path: Path, refusal: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(refusal) from None
    try:
        yield
    finally:
        lock.release()


def checkpoints_to_resume(run: Path) -> list[Path]:
    """Return the checkpoints that a run may go on from, the first choice first: ``last``, the one before, ``best``."""
    paths = [run / "checkpoints" / f"{name}.ckpt" for name in ("last", PREVIOUS, "best")]
    return [path for path in paths if path.is_file()]


def checkpoint_of(run: Path, which: str = "best") -> Path:
    """Return ``checkpoints/best.ckpt`` of a run, or ``last.ckpt`` where there is no best.

    Raises:
        UserError: if the run holds neither.
    """
    for name in dict.fromkeys((which, "last", "best", PREVIOUS)):
        path = run / "checkpoints" / f"{name}.ckpt"
        if path.is_file():
            return path
    raise UserError(f"{run} holds no checkpoint yet: looked for best.ckpt and last.ckpt in {run / 'checkpoints'}.")


def check_name(name: str) -> None:
    """Raise a ``UserError`` unless ``name`` is a plain folder name, or several with ``/`` between them."""
    if not re.fullmatch(r"\w[\w.+=,@-]*(/\w[\w.+=,@-]*)*", name):
        raise UserError(f"--name {name!r} is not a plain folder name: letters, digits and any of . _ + = , @ - only.")


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; on success it replaces ``path`` in one step.

    Args:
        path: the file to write.
        durable: first wait until the content is on the disk, so that after a power failure ``path`` is the old file or
            the new one, never an empty one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=path.suffix)
    except OSError as error:
        error.filename = str(path)  # what the user knows of
        raise
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("r+b") as file:  # Windows refuses fsync where a file is open for reading alone
            temporary.chmod(0o666 & ~_umask())
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in a folder that nobody writes to now."""
    for path in folder.glob(".*-????????.*"):
        path.unlink(missing_ok=True)


def flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested options as one level, by the names of the command line: ``model.tau``."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        name = prefix if key == "init_args" else f"{prefix}.{key}".lstrip(".")
        found |= flat(value, name) if isinstance(value, Mapping) and value else {name: value}
    return found


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` to ``path`` in one step; nan becomes null."""
    clean = json.loads(json.dumps(content, default=str), parse_constant=lambda name: None)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(clean, indent=2, default=str) + "\n")


def write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write lines as CSV in one step; the columns are the keys of all of them. Names need not be UTF-8."""
    columns = list(dict.fromkeys(key for line in lines for key in line))
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(lines)


def file_name(name: str) -> str:
    """Return a data set's or protocol's name as a plain file name: ``ecssd[320:]`` becomes ``ecssd-320-end``."""
    name = re.sub(r"\[(\d*):(\d*)\]$", lambda part: f" {part[1] or 0} {part[2] or 'end'}", name)
    return "-".join("".join(c if c.isalnum() or c in "_-" else " " for c in name).split())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _runs() -> list[Path]:
    return [path for path in RUNS.iterdir() if path.is_dir()] if RUNS.is_dir() else []


def shown_path(path: str | Path) -> str:
    """Return the end of a path, as plain text: two parts of a relative one, the last of an absolute one."""
    path = Path(path)
    absolute = path.is_absolute() or str(path).startswith("~")
    return f"…/{path.name}" if absolute else "/".join(part for part in path.parts[-2:] if part != "..")


def without_folders(content: Any) -> Any:
    """Plain data whose absolute paths are cut to their last part: a server need not know this machine's folders."""
    if isinstance(content, dict):
        return {key: without_folders(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_folders(value) for value in content]
    if isinstance(content, str) and (content.startswith("~") or Path(content).is_absolute()):
        return shown_path(content)
    return content


def logged_rows(run: Path) -> list[dict[str, float]]:
    """Return the rows of a run's ``metrics.csv``, without its empty cells."""
    path = run / METRICS
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
