"""The error that a person at the keyboard can mend."""


class UserError(ValueError):
    """A mistake in options, files or data, told in one or two lines.

    The message says what was wrong, what is allowed and, where there is one, the command to type next.
    ``segtricks.cli`` prints it without a traceback and exits with ``status``; Python callers see a ``ValueError``.
    """

    status = 2


class Stopped(UserError):
    """The user interrupted a run; the message says how to go on."""

    status = 130
