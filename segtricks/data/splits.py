"""Which training images are kept for validation."""

from numpy.random import default_rng

from segtricks.data.sample import SaliencyDataset
from segtricks.errors import UserError

_SEED = 0


def hold_out(
    dataset: SaliencyDataset, held_out: int | float, limit: int | None = None
) -> tuple[SaliencyDataset, SaliencyDataset]:
    """Training and held-out images, each in file order.

    One permutation, the same in every run, decides: the held-out images come first in it, and a limit takes its first
    images. Runs with other seeds validate on the same images, and smaller limits are subsets of larger ones.

    Args:
        dataset: All training images.
        held_out: Number of images to hold out, or their share below 1, of which there is at least one image.
        limit: Use only so many images, held-out ones included.

    Raises:
        UserError: ``held_out`` is out of range or leaves nothing to train on.
    """
    order = default_rng(_SEED).permutation(len(dataset))[:limit].tolist()
    if held_out <= 0 or (isinstance(held_out, float) and held_out >= 1):
        raise UserError(f"held_out is {held_out}: pass a number of images from 1 on, or a share such as 0.02.")
    count = held_out if isinstance(held_out, int) else max(1, round(held_out * len(order)))
    if count >= len(order):
        raise UserError(
            f"held_out {held_out} of {dataset.name}, which has {len(order)} images in all, leaves none to train on: "
            f"pass --data.held_out {max(1, len(order) // 10)}, or more images."
        )
    return dataset.select(sorted(order[count:])), dataset.select(sorted(order[:count]))
