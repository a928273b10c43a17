"""The refiners by name, with their presets, made from options as text."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from segtricks.errors import UserError
from segtricks.refine.refiners import BILATERAL_PRESETS, BilateralSolver, DenseCRF, GuidedFilter


@dataclass(frozen=True)
class Refiner:
    """A dataclass of options, callable as ``(mask, image)``, and its published presets."""

    kind: type
    presets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Name and default of each option."""
        return {each.name: each.default for each in dataclasses.fields(self.kind)}


REFINERS = {
    "guided_filter": Refiner(GuidedFilter, {"two-tricks": GuidedFilter()}),
    "bilateral_solver": Refiner(BilateralSolver, BILATERAL_PRESETS),
    "dense_crf": Refiner(DenseCRF, {"cutler": DenseCRF()}),
}


def create_refiner(name: str, preset: str | None = None, options: Mapping[str, str] | None = None) -> Any:
    """Return a refiner: a preset or the defaults, with options changed.

    Args:
        name: one of ``REFINERS``.
        preset: one of its presets.
        options: values as text.

    Raises:
        UserError: an unknown preset, an option of another refiner, or a value that is out of range.
    """
    refiner, given = REFINERS[name], options or {}
    if preset is not None and preset not in refiner.presets:
        raise UserError(f"{name} has no preset {preset!r}. Allowed: {', '.join(refiner.presets)}.")
    if foreign := sorted(set(given) - set(refiner.options)):
        allowed = ", ".join(f"--{option}" for option in refiner.options)
        raise UserError(f"{name} has no option --{foreign[0]}. Allowed: {allowed}.")
    kinds = get_type_hints(refiner.kind)
    values = {option: _value(option, text, kinds[option]) for option, text in given.items()}
    base = refiner.presets[preset] if preset else refiner.kind()
    import torch  # takes seconds, and the list of refiners needs none

    try:
        made = dataclasses.replace(base, **values)
        made(torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 64, 64))
    except ValueError as error:
        raise UserError(f"{name}: {error}.") from error
    return made


def _value(name: str, text: str, kind: Any) -> Any:
    legal = get_args(kind)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if legal and text not in legal:
            raise ValueError
        return text if legal else kind(text)
    except (KeyError, ValueError) as error:
        names = {int: "a whole number", float: "a number", bool: "true or false"}
        raise UserError(f"--{name} must be {names.get(kind) or ' or '.join(legal)}, got {text!r}.") from error
