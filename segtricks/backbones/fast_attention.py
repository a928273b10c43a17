"""Attention in bfloat16 on a CPU, by plain matrix products where they are faster than torch's fused kernel."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_BLOCK = 2**22  # attention weights at a time: 8 MiB stay in a cache
_TRAINED_TOKENS = 4096  # beyond, keeping N² weights for the gradient costs more memory than the time is worth


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """``scaled_dot_product_attention`` of (B, heads, N, d) without mask, by the faster way of the device.

    On a CPU with AVX-512 and no AMX, torch's fused kernel is no faster in bfloat16 than in float32; one head after the
    other by plain products takes 0.4 of its time (N = 1601, d = 64). Everything else goes to torch.
    """
    if not _plain_is_faster(query):
        return F.scaled_dot_product_attention(query, key, value)
    rows = max(1, _BLOCK // key.shape[2])
    with torch.autocast("cpu", enabled=False):
        query = query * query.shape[-1] ** -0.5
        heads = zip(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), strict=True)
        attended = [torch.softmax(part @ k.T, dim=-1) @ v for q, k, v in heads for part in q.split(rows)]
        return torch.cat(attended).view(query.shape)


class FastAttention(TorchFunctionMode):
    """Context in which every plain call of ``scaled_dot_product_attention`` takes the way of :func:`attention`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Take over the calls that ask for nothing but queries, keys and values."""
        options = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **options)
        unset = options.get("attn_mask") is None and not options.get("dropout_p") and not options.get("is_causal")
        if unset and len(args) == 3 and set(options) <= {"attn_mask", "dropout_p", "is_causal"}:
            return attention(*args)
        return func(*args, **options)


def _plain_is_faster(query: Tensor) -> bool:
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return False
    if torch.is_grad_enabled() and query.requires_grad and query.shape[2] > _TRAINED_TOKENS:
        return False
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch has none
    return bool(capabilities.get("avx512_bf16")) and not capabilities.get("amx_tile")
