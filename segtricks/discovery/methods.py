"""The training-free methods by name: what each takes of a backbone, its threshold, and why it may find nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from segtricks.discovery.deep_spectral import deep_spectral
from segtricks.discovery.found import found_background
from segtricks.discovery.lost import lost
from segtricks.discovery.maskcut import maskcut
from segtricks.discovery.tokencut import tokencut
from segtricks.errors import UserError
from segtricks.losses.tau import Tau, share_of


class DiscoveryMethod(Protocol):
    """Features (B, D, h, w), and the attention of a ViT where it is needed, to masks of 0 and 1.

    They are (B, 1, h, w), or (B, n, h, w) of several objects.
    """

    option: ClassVar[str]
    """Name of the option that sets the threshold."""

    why_empty: ClassVar[str]
    """Why a mask may be empty."""

    needs_attention: ClassVar[bool]
    """Whether it takes the keys and the attention of a ViT's last layer, and no other features."""

    @property
    def cosine(self) -> Tau:
        """The threshold."""

    def __call__(self, features: Tensor, attention: Tensor | None = None) -> Tensor:
        """Return the masks."""


@dataclass(frozen=True)
class TokenCut:
    """:func:`segtricks.discovery.tokencut`."""

    cosine: Tau

    option = "tau"
    why_empty = "all pairs of patches lie on one side of tau, a uniform image, or features that are not finite"
    needs_attention = False

    def __call__(self, features: Tensor, attention: Tensor | None = None) -> Tensor:
        """Return the masks."""
        return tokencut(features, self.cosine).mask


@dataclass(frozen=True)
class Lost:
    """:func:`segtricks.discovery.lost`."""

    cosine: Tau
    k: int = 100

    option = "tau"
    why_empty = "every patch resembles every other, or features that are not finite"
    needs_attention = False

    def __call__(self, features: Tensor, attention: Tensor | None = None) -> Tensor:
        """Return the masks."""
        return lost(features, self.k, self.cosine).mask


@dataclass(frozen=True)
class DeepSpectral:
    """:func:`segtricks.discovery.deep_spectral`."""

    cosine: Tau

    option = "tau"
    why_empty = "no two patches or all alike, a uniform image, or features that are not finite"
    needs_attention = False

    def __call__(self, features: Tensor, attention: Tensor | None = None) -> Tensor:
        """Return the masks."""
        return deep_spectral(features, tau=self.cosine).mask


@dataclass(frozen=True)
class FoundSeed:
    """:func:`segtricks.discovery.found_background`: the first step of FOUND, before a head is trained."""

    cosine: Tau

    option = "threshold"
    why_empty = "every patch resembles the background, or features that are not finite"
    needs_attention = True

    def __call__(self, features: Tensor, attention: Tensor | None = None) -> Tensor:
        """Return the masks."""
        assert attention is not None
        return found_background(features, attention, self.cosine).mask


@dataclass(frozen=True)
class SeveralCuts:
    """:func:`segtricks.discovery.maskcut`: several masks of each image."""

    cosine: Tau
    rounds: int = 3
    skip_refused: bool = False

    option = "tau"
    why_empty = "all pairs of patches lie on one side of tau, a uniform image, or features that are not finite"
    needs_attention = False

    def __call__(self, features: Tensor, attention: Tensor | None = None) -> Tensor:
        """Return the masks."""
        return maskcut(features, self.cosine, rounds=self.rounds, skip_refused=self.skip_refused).masks


METHODS: Mapping[str, type[Any]] = {
    "tokencut": TokenCut,
    "lost": Lost,
    "deep_spectral": DeepSpectral,
    "found": FoundSeed,
    "maskcut": SeveralCuts,
}


def create_method(name: str, default: Tau, tau: Tau | None, threshold: Tau | None, **others: Any) -> DiscoveryMethod:
    """Return a method with its options.

    Args:
        name: one of ``METHODS``.
        default: the threshold where none is given.
        tau: of the methods whose option it is.
        threshold: of the methods whose option it is.
        **others: options that only some methods have.

    Raises:
        UserError: there is no such method, or a threshold is out of range.
    """
    if name not in METHODS:
        raise UserError(f"Unknown method {name!r}. Allowed: {', '.join(METHODS)}.")
    for value in (tau, threshold):
        share_of(default if value is None else value)  # out of range, it is refused before the weights are read
    kind = METHODS[name]
    given = {"tau": tau, "threshold": threshold}[kind.option]
    options = {option: value for option, value in others.items() if option in kind.__dataclass_fields__}
    method: DiscoveryMethod = kind(default if given is None else given, **options)
    return method
