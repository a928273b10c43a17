"""Weights from timm's hub, and a short way out where there is no network."""

from typing import Any

import timm
from torch import nn

from segtricks.backbones.registry import Pretrained
from segtricks.errors import UserError

PROBE_TIMEOUT = 10.0  # seconds for the one request that decides whether the hub can be reached


def create_pretrained(timm_name: str, name: str, entry: Pretrained | None, **options: Any) -> nn.Module:
    """timm model with its hub weights, loaded strictly.

    A cached file is used without asking the network. Otherwise one request without retries decides: the
    hub's own downloader retries for 46 seconds before it gives up.

    Raises:
        UserError: No weights on the hub, or the download failed; says what to fetch by hand and where to put it.
    """
    if entry is not None and entry.url is not None:
        raise UserError(
            f"{name!r} has no weights on timm's hub: fetch {entry.official} of {entry.repository} from {entry.url}\n"
            "and pass --model.backbone_checkpoint FILE."
        )
    cfg = timm.get_pretrained_cfg(timm_name)
    hub_id, url = (cfg.hf_hub_id, cfg.url) if cfg else (None, None)
    if not hub_id and not url:
        raise UserError(
            f"timm has no pretrained weights of {timm_name!r}.\nPass your own with --model.backbone_checkpoint FILE."
        )
    filename = (cfg.hf_hub_filename if cfg else None) or "model.safetensors"
    source = f"https://huggingface.co/{hub_id}/resolve/main/{filename}" if hub_id else url
    try:
        # `file` goes before the hub in timm; `custom_load` is for the NumPy files of `url`.
        overlay = {"file": _hub_file(hub_id, filename), "custom_load": False} if hub_id else {}
        # The default number of classes: with another one timm would not load strictly.
        return timm.create_model(timm_name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except Exception as error:  # the hub's, the HTTP client's and the system's errors share no base class
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        official = f" (or {entry.official} of {entry.repository})" if entry else ""
        raise UserError(
            f"could not get the weights of {name!r} ({reason}): fetch {source}{official}\n"
            "on a machine with network and pass --model.backbone_checkpoint FILE."
        ) from error


def _hub_file(hub_id: str, filename: str) -> str:
    # timm depends on it; imported here because a run from a checkpoint needs no network client
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    cached = try_to_load_from_cache(hub_id, filename)
    if isinstance(cached, str):
        return cached
    get_hf_file_metadata(hf_hub_url(hub_id, filename), timeout=PROBE_TIMEOUT)
    return hf_hub_download(hub_id, filename)
