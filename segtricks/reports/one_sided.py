"""Masks of nothing or of everything: past a share of them a command says why that is likely."""

MANY = 0.05
"""Share of the photographs from which empty or full masks are more than photographs without an object."""


def count_one_sided(empty: int, full: int) -> str:
    """Return the counts in words."""
    return f"{empty:,} empty masks, {full:,} of everything"


def warn_one_sided(empty: int, full: int, masks: int, why: str) -> None:
    """Print what is likely wrong where many of the masks are empty or full.

    Args:
        empty: masks without foreground.
        full: masks of nothing else.
        masks: all masks.
        why: the likely reason, and what to type next.
    """
    if masks and empty + full > MANY * masks:
        print(f"segtricks: warning: {(empty + full) / masks:.0%} of the masks are empty or full. {why}")
