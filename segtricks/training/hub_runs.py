"""Runs that lie on the Hugging Face Hub: ``hf://owner/name``, or ``hf://owner/name@revision``."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from segtricks.backbones.probing import PROBE_TIMEOUT, within
from segtricks.backbones.unavailable import Unavailable
from segtricks.errors import UserError
from segtricks.packaged import read_yaml
from segtricks.runs import existing_run, replacing, without_folders

SCHEME = "hf://"
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "README.md"
"""Files of a shared run."""

_NOT_SHARED = ("optimizer", "lr_scheduler", "compile", "from_run", "labels")  # options of a method that only train
_OWN = ("segtricks.methods.", "segtricks.data.")
_OF_DATA = ("size", "test_size", "multiple", "resize")
_PART = r"[A-Za-z0-9][\w.-]*"


@dataclass(frozen=True)
class Address:
    """Where a run lies on the hub."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        """As it is typed."""
        return f"{SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def parse_address(text: str) -> Address:
    """Return the address that is written as ``hf://owner/name[@revision]``; ``hf://`` may be left out.

    Raises:
        UserError: it is not one.
    """
    match = re.fullmatch(rf"(?:{SCHEME})?({_PART}/{_PART})(?:@([\w./-]+))?", text)
    if match is None:
        raise UserError(f"{text!r} is not an address of a shared run. Next: write hf://OWNER/NAME or …@REVISION.")
    return Address(match[1], match[2])


def find_run(path: str | Path) -> Path:
    """Return the folder of a run: one of this machine, or one that was shared, which is fetched first.

    Raises:
        UserError: there is no such run, or it cannot be fetched.
    """
    address = shared_address(path)
    return existing_run(path) if address is None else _fetched(address)


def shared_address(path: str | Path) -> Address | None:
    """Return the address of a shared run, None of a run of this machine; a ``Path`` has one slash left of the two.

    Raises:
        UserError: it begins as an address and is not one.
    """
    scheme, colon, rest = Path(path).as_posix().partition(":")
    return parse_address(SCHEME + rest.lstrip("/")) if scheme + colon == "hf:" else None


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a run's config what a prediction depends on, without paths, and naming no code but segtricks' own.

    Raises:
        UserError: it needs other code, or is damaged.
    """
    model, data = _mapping(config, "model"), _mapping(config, "data")
    options = {key: value for key, value in _mapping(model, "init_args").items() if key not in _NOT_SHARED}
    if isinstance(options.get("backbone_checkpoint"), str):
        options["backbone_checkpoint"] = Path(options["backbone_checkpoint"]).name
    options = without_folders(options)
    sizes = _mapping(data, "init_args")
    shared = {
        "seed_everything": 0,
        "model": {"class_path": str(model.get("class_path")), "init_args": options},
        "data": {
            "class_path": str(data.get("class_path")),
            "init_args": {key: sizes[key] for key in _OF_DATA if isinstance(sizes.get(key), int)},
        },
    }
    for name in _foreign_code(shared):
        raise UserError(
            f"{name} is not part of segtricks, and a shared run holds no code.\n"
            "Next: share the run folder itself, together with that file."
        )
    origin = _mapping(config, "provenance")
    known = {key: str(origin[key]) for key in ("weights", "fingerprint") if key in origin}
    return shared | ({"provenance": known} if known else {})


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of a config, which may be left out.

    Raises:
        UserError: it is something else.
    """
    value = config.get(key) or {}
    if not isinstance(value, Mapping):
        raise UserError(
            f"The config of the run is damaged: {key} is {str(value)[:80]!r}, not a mapping of options.\n"
            "Next: take another revision of the run, or have it shared again."
        )
    return value


def _foreign_code(value: Any, key: str = "") -> Iterator[str]:
    """Yield what a config names that would be imported, and is not a class of segtricks.

    That is a ``class_path``, and a backbone as ``package.module:Name``, alone or in a list with commas.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _foreign_code(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _foreign_code(inner, key)
    elif (key == "class_path" and not str(value).startswith(_OWN)) or ("backbone" in key and ":" in str(value)):
        yield str(value)


def _fetched(address: Address) -> Path:
    """Return the run folder made of a shared run, in the cache; each revision has its own."""
    files = _download(address)
    commit = files[CONFIG].parent.name
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "segtricks" / "runs" / address.repository / commit
    config = portable(read_yaml(files[CONFIG], "model: {class_path: segtricks.methods.Sempart}"))
    if not (folder / CONFIG).is_file():
        _write_checkpoint(files[WEIGHTS], folder / "checkpoints" / "best.ckpt")
        with replacing(folder / CONFIG) as temporary:  # last: from now on it is a run
            temporary.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return folder


def _write_checkpoint(head: Path, path: Path) -> None:
    import lightning
    import torch

    from segtricks.training.head_files import read_head

    content = read_head(head, f"remove {head.parent} and fetch it again")
    lightning_keys = {"global_step": 0, "epoch": 0, "pytorch-lightning_version": lightning.__version__}
    with replacing(path) as temporary:
        torch.save(content | lightning_keys, temporary)


def _download(address: Address) -> dict[str, Path]:
    """Return the files of a shared run in the hub's own cache; without a network those that are there."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    api = HfApi()
    with explained(address):
        try:
            answer(lambda: api.model_info(address.repository, revision=address.revision, timeout=PROBE_TIMEOUT))
        except Unavailable:
            cached = {
                name: try_to_load_from_cache(address.repository, name, revision=address.revision)
                for name in (WEIGHTS, CONFIG)
            }
            if not all(isinstance(path, str) for path in cached.values()):
                raise
            return {name: Path(str(path)) for name, path in cached.items()}
        config = Path(api.hf_hub_download(address.repository, CONFIG, revision=address.revision))
        commit = config.parent.name  # the branch may move before the second file is asked for
        weights = Path(api.hf_hub_download(address.repository, WEIGHTS, revision=commit))
        return {WEIGHTS: weights, CONFIG: config}


def answer(call: Callable[[], Any]) -> None:
    """Ask the hub once, for a few seconds at most: its own functions would try for a minute.

    Raises:
        Unavailable: there is no answer.
        Exception: the hub's own, for an answer that is an error.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        within(PROBE_TIMEOUT, call)
    except HfHubHTTPError:
        raise
    except Exception as error:  # of the HTTP client, which is another in each version of the hub's package
        raise Unavailable(error) from error


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turn what the hub's package raises into a ``UserError`` that says what to type."""
    try:
        yield
    except Exception as error:  # of the HTTP client as well, which is another in each version of the hub's package
        if isinstance(error, UserError) and not isinstance(error, Unavailable):
            raise
        raise UserError(_explanation(address, error)) from error


def _explanation(address: Address, error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160].rstrip(".")
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no {address} that you may read.\n"
            "Next: check owner and name; for a private one log in with `hf auth login`, or set HF_TOKEN."
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{SCHEME}{address.repository} has no revision {address.revision!r}.\n"
            f"Next: leave out @{address.revision}, or take one that its page lists."
        )
    if isinstance(error, EntryNotFoundError):
        return (
            f"{address} is not a run that segtricks shared: it lacks {WEIGHTS} or {CONFIG}.\n"
            "Next: check its name; segtricks share runs/NAME --to OWNER/NAME makes such a repository."
        )
    if isinstance(error, HfHubHTTPError):
        owner = address.repository.split("/")[0]
        return (
            f"{constants.ENDPOINT} refused: {reason}.\n"
            f"Next: take a token that may write to {owner}, with `hf auth login` or in HF_TOKEN."
        )
    return (
        f"{constants.ENDPOINT} cannot be reached for {address} ({reason}).\n"
        "Next: check the network; or pass the path of a copy of the run folder."
    )
