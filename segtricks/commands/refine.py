"""``segtricks refine``: any method's masks and their photographs in, refined soft masks out."""

import os
from collections.abc import Sequence
from pathlib import Path

from segtricks.commands.options import OptionParser
from segtricks.refine.registry import REFINERS

_OPTIONS = tuple(dict.fromkeys(option for refiner in REFINERS.values() for option in refiner.options))

USAGE = """--masks MASKS --images PHOTOS --output OUT [--method NAME] [--preset NAME] [--option value]

  --masks DIR      folder of masks, or what segtricks predict or discover wrote
  --images DIR     their photographs, of the same names
  --output DIR     where to write the refined masks
  --method NAME    guided_filter, bilateral_solver or dense_crf
  --preset NAME    a published choice of its options
  --layout NAME    folders: soft/, binary/, overlay/ and an index, as predict writes them; flat: soft masks alone;
                   same (default): folders where MASKS has soft/, else flat
  --overwrite      remove what refine wrote to OUT with other settings
  --polarity RULE  first turn a mask over if its mean (image), or its mean along the border (border), exceeds 0.5
  --workers N      masks refined at once

""" + "\n".join(
    f"  {name}: {', '.join(f'--{option} {default}' for option, default in refiner.options.items())}; "
    f"presets {', '.join(refiner.presets)}"
    for name, refiner in REFINERS.items()
)


def main(words: Sequence[str]) -> None:
    """Run the command with its option words."""
    options = _parser().parse_args(list(words))
    given = {name: getattr(options, name) for name in _OPTIONS if getattr(options, name) is not None}
    from segtricks.commands.refine_folder import refine_folder  # later than the options: torch takes seconds

    refine_folder(options, given)


def _parser() -> OptionParser:
    parser = OptionParser("refine", USAGE)
    for name in ("masks", "images", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--method", choices=tuple(REFINERS), default="guided_filter")
    parser.add_argument("--preset")
    parser.add_argument("--layout", choices=("same", "flat", "folders"), default="same")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--polarity", choices=("none", "image", "border"), default="none")
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1))
    for name in _OPTIONS:
        parser.add_argument(f"--{name}")
    return parser
