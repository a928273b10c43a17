"""A checksum of a network's weights, whatever file they came from."""

import hashlib

from torch import nn


def fingerprint(network: nn.Module) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of all parameters and buffers, by name, in their own precision."""
    digest = hashlib.sha256()
    for name, values in sorted(network.state_dict().items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
