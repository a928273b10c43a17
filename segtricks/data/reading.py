"""How the files of a data set are read: decided for the whole set before the first of them is."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from segtricks.data.images import IMAGE_SUFFIXES, Stored, UnreadableImage, read_stored
from segtricks.data.mask_values import DEPTHS, SAMPLE, Content, MaskRule, decide, refuse_masks, spread_out
from segtricks.data.pairing import few
from segtricks.errors import UserError
from segtricks.parallel import in_threads
from segtricks.words import Orientation

_DEEP = (".png", ".tif", ".tiff")  # formats that can hold 16 bits
_THREADS = 4


class Reading:
    """How masks and photographs are read, decided when it is asked for the first time.

    Parts of a data set share the object, and worker processes get what was decided before they started. Up to 1,000
    files are looked at, spread evenly over the set; one of another scale that was not among them cannot be read.

    Args:
        images: photographs of the whole set.
        masks: its masks.
        content: of the files.
    """

    def __init__(self, images: Sequence[Path], masks: Sequence[Path], content: Content) -> None:
        self._images, self._masks, self._content = images, masks, content
        self.foreground: tuple[int, ...] = ()
        """Values of the masks that are foreground, where they hold classes."""
        self.ignore: tuple[int, ...] = ()
        """Values of the masks whose pixels are not scored."""
        self.orientation: Orientation = "exif"
        self.what = "targets"
        """What messages call the masks; for ``targets`` options are advised."""
        self.options = "--data."
        """What the names of the options that are advised start with."""
        self.sample = SAMPLE
        """How many files are looked at."""
        self.guessed = False
        """Whether masks of classes are read although it was not said which are foreground."""
        self._rule: MaskRule | None = None
        self._refusal: UserError | None = None

    @property
    def masks(self) -> MaskRule:
        """How masks are read.

        Raises:
            UserError: they hold classes, and it was not said which are foreground.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._rule is None:
            try:
                self._rule = self._decide()
            except UserError as error:
                self._refusal = error
                raise
        return self._rule

    def check_labels(self, option: str) -> None:
        """Raise a ``UserError`` where the label maps that an option names are masks of 0 and 255."""
        refuse_masks(spread_out(self._masks, self.sample), option, self._content)

    def read_all_classes(self) -> None:
        """Read every value but 0 as foreground, where it was not said which are."""
        self._rule, self._refusal, self.guessed = MaskRule("palette"), None, True

    def _decide(self) -> MaskRule:
        files = [path for path in dict.fromkeys(self._masks) if path.suffix.lower() in IMAGE_SUFFIXES]
        if not files:  # outlines, or masks that are drawn
            return MaskRule()
        chosen = spread_out(files, self.sample)
        return decide(chosen, self.what, self.foreground, self.ignore, _THREADS, self.options, self._content)

    @property
    def white(self) -> int:
        """Gray value of white in photographs of 16 bits: 255, 1023 or 4095 where no value of any exceeds it."""
        return self._depths[0]

    @cached_property
    def _depths(self) -> tuple[int, list[Path]]:
        """The gray value of white, and the photographs that come nowhere near it."""
        files = spread_out([path for path in self._images if path.suffix.lower() in _DEEP], self.sample)
        if not files:
            return DEPTHS[-1], []
        looks = in_threads(partial(_look, content=self._content), files, _THREADS, None)
        found = [(path, stored) for path, stored in zip(files, looks, strict=True) if stored is not None]
        highest = {path: stored.highest for path, stored in found if 0 < stored.highest <= DEPTHS[-1]}
        most = max(highest.values(), default=DEPTHS[-1])
        white = min(depth for depth in DEPTHS if most <= depth)
        dark = [path for path, value in highest.items() if value <= DEPTHS[-2] < white]
        return white, dark + [path for path, stored in found if stored.low_colour]

    @cached_property
    def undecided(self) -> int:
        """Photographs with an EXIF orientation that leaves their size as it is, where masks are taken to be upright."""
        if self.orientation == "raw":
            return 0
        files = spread_out(self._images, self.sample)
        return sum(in_threads(partial(_keeps_size, content=self._content), files, _THREADS, None))

    def lines(self, masks: bool, drawn: bool) -> list[str]:
        """Return what is unusual, in words: of photographs, of ``masks``, and of anything ``drawn`` on them."""
        found = list(self.masks.lines()) if masks else []
        if drawn and self.undecided:
            found.append(
                f"{self.undecided:,} photographs have an EXIF orientation, and no size tells whether their masks or "
                f"boxes were drawn on the upright photograph: they are taken for that ({self.options}orientation raw)"
            )
        white, dark = self._depths
        if white != DEPTHS[-1]:
            found.append(f"photographs of 16 bits hold no value above {white}, which is read as white")
        if dark:
            found.append(
                f"{len(dark):,} photographs of 16 bits hold no value above {DEPTHS[-2]}, and are read as nearly black, "
                f"since others hold more or they are in colour ({few([path.name for path in dark])})"
            )
        return found

    def unusual(self, masks: bool, drawn: bool) -> dict[str, Any]:
        """Return what results say of it: only what differs from gray values of 0 to 255, or 65535 with 16 bits."""
        about: dict[str, Any] = {}
        if masks and self.masks != MaskRule():
            about["masks"] = asdict(self.masks)
        if self.white != DEPTHS[-1]:
            about["photographs"] = {"white": self.white}
        if drawn and (self.orientation != "exif" or self.undecided):
            about["orientation"] = {"drawn_on": self.orientation, "undecided": self.undecided}
        return about


def _keeps_size(path: Path, content: Content) -> bool:
    stored = _look(path, content)
    if stored is None or stored.orientation not in range(2, 9):
        return False
    height, width = stored.size
    return stored.orientation < 5 or height == width


def _look(path: Path, content: Content) -> Stored | None:
    try:
        return read_stored(path, content(path), whole=False)
    except UnreadableImage:
        return None
