"""Why a source of weights has none to give."""

import re

from segtricks.errors import UserError


class Unavailable(UserError):
    """A source that gives no weights now; the message is the reason in a few words.

    Args:
        reason: Text or an exception; its first line is kept, without an error number, cut to 120 characters.
        advice: What to type so that the source works, or nothing.
    """

    def __init__(self, reason: object, advice: str = "") -> None:
        words = str(reason).strip().split("\n")[0][:120].rstrip(".") or type(reason).__name__
        super().__init__(re.sub(r"^\[Errno -?\d+\] ", "", words))
        self.advice = advice
