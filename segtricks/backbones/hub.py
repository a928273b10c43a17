"""Weights from timm's hub, and a short way out where there is no network."""

from typing import TYPE_CHECKING, Any

from segtricks.backbones.probing import PROBE_TIMEOUT, within
from segtricks.backbones.unavailable import Unavailable

if TYPE_CHECKING:
    from torch import nn

FILE = "model.safetensors"


def create_from_hub(timm_name: str, **options: Any) -> "tuple[nn.Module, str]":
    """timm model with its hub weights, loaded strictly, and where they came from.

    A cached file is used without asking the network. Otherwise one request without retries decides: the
    hub's own downloader retries for 46 seconds before it gives up.

    Raises:
        Unavailable: No weights on the hub, the download failed, or they do not fit.
    """
    import timm

    hub_id, filename, url = _location(timm_name)
    if not hub_id and not url:
        raise Unavailable("no such weights")
    try:
        # `file` goes before the hub in timm; `custom_load` is for the NumPy files of `url`.
        overlay = {"file": _hub_file(hub_id, filename), "custom_load": False} if hub_id else {}
        # The default number of classes: with another one timm would not load strictly.
        model = timm.create_model(timm_name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except Unavailable:
        raise
    except Exception as error:  # the hub's, the HTTP client's and the system's errors share no base class
        raise Unavailable(error) from error
    return model, f"timm's hub, {hub_id}" if hub_id else f"timm's file {url.rsplit('/', 1)[-1]}"


def hub_address(timm_name: str) -> str | None:
    """Address of the weights that timm has of a model; None where it has none."""
    hub_id, filename, url = _location(timm_name)
    return f"https://huggingface.co/{hub_id}/resolve/main/{filename}" if hub_id else url or None


def cached_hub_file(hub_id: str, filename: str = FILE) -> str | None:
    """Path of a hub file that lies on this machine already; None where there is none."""
    # timm depends on it; imported here because a run from a checkpoint needs no network client
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(hub_id, filename)
    return cached if isinstance(cached, str) else None


def _location(timm_name: str) -> tuple[str, str, str]:
    import timm

    cfg = timm.get_pretrained_cfg(timm_name)
    if cfg is None:
        return "", FILE, ""
    return cfg.hf_hub_id or "", cfg.hf_hub_filename or FILE, cfg.url if isinstance(cfg.url, str) else ""


def _hub_file(hub_id: str, filename: str) -> str:
    if (cached := cached_hub_file(hub_id, filename)) is not None:
        return cached
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    address = hf_hub_url(hub_id, filename)
    within(PROBE_TIMEOUT, lambda: get_hf_file_metadata(address, timeout=PROBE_TIMEOUT))
    return hf_hub_download(hub_id, filename)
