"""``segtricks data download``: from nothing to a dataset that is known to be the right one."""

import difflib
import shlex
import sys
import warnings
from argparse import Namespace
from pathlib import Path

from segtricks.data.datasets.examples import INSTALL, ExamplePhotographs, count_installed
from segtricks.data.datasets.registry import PUBLISHED
from segtricks.data.download.fetch import DOWNLOADS, download
from segtricks.errors import Stopped, UserError

NAMES = (*PUBLISHED, "examples")


def main(options: Namespace) -> None:
    """Run the command.

    Raises:
        UserError: a set that cannot be had.
        Stopped: by Ctrl-C.
    """
    warnings.formatwarning = lambda message, category, filename, lineno, line=None: f"segtricks: warning: {message}\n"
    options.root = options.root.expanduser()
    names = list(dict.fromkeys(options.names))
    _check(names, options.url)
    failed = []
    for name in names:
        try:
            _download(name, options.root, options.url, options.keep)
        except KeyboardInterrupt:
            again = shlex.join(["segtricks", "data", *options.words])
            raise Stopped(f"stopped; what has come is kept in {options.root / DOWNLOADS}. To go on: {again}") from None
        except (UserError, OSError) as error:
            if len(names) == 1:
                raise
            failed.append(name)
            print(f"segtricks: {error}", file=sys.stderr)
    if failed:
        again = shlex.join(["segtricks", "data", "download", *failed, "--root", str(options.root)])
        raise UserError(f"{len(failed)} of {len(names)} datasets failed: {', '.join(failed)}.\nNext: {again}")


def _download(name: str, root: Path, urls: list[str], keep: bool) -> None:
    if name == "examples":
        return _check_examples()
    images = PUBLISHED[name].expected
    if not download(name, PUBLISHED[name], root, urls, keep):
        print(f"{name}: all {images:,} images are in {root} already")
        return
    print(f"{name}: {images:,} images in {root}")
    elsewhere = "" if str(root) == "data" else f" --data.root {shlex.quote(str(root))}"
    print(f"Next: segtricks data verify {name} --root {shlex.quote(str(root))}")
    print(f"      segtricks test --run runs/NAME --data {name}{elsewhere}")


def _check_examples() -> None:
    """Raise a ``UserError`` that names the packages to install where photographs are missing."""
    message = "examples: nothing to download: these photographs come inside Python packages"
    found = count_installed()
    if found < ExamplePhotographs.expected:
        raise UserError(f"{message}, and {found} of {ExamplePhotographs.expected} are here.\nNext: {INSTALL}")
    print(f"{message}, and all {found} are here\nNext: segtricks test --run runs/NAME --data examples")


def _check(names: list[str], urls: list[str]) -> None:
    """Raise a ``UserError`` for a dataset that cannot be downloaded, or addresses that do not apply."""
    if unknown := [name for name in names if name not in NAMES]:
        near = difflib.get_close_matches(unknown[0].lower().replace("_", "-"), NAMES, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"No dataset {unknown[0]!r} to download{hint}. Allowed: {', '.join(NAMES)}.")
    if urls and len(names) > 1:
        raise UserError("--url replaces the addresses of one dataset: pass a single NAME with it.")
    if urls and names == ["examples"]:
        raise UserError("There is nothing to download for examples: leave --url out.")
