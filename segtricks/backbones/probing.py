"""Whether a host answers, asked once and for a few seconds at most."""

import http.client
import threading
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from segtricks import __version__
from segtricks.backbones.unavailable import Unavailable

PROBE_TIMEOUT = 4.0
"""Seconds for the one request that decides whether a host can be reached."""


def within(seconds: float, call: Callable[[], Any]) -> None:
    """Run ``call``, and stop waiting for it after some seconds.

    A thread, because the timeout of a socket does not limit the time that looking up a host's name takes.

    Raises:
        Unavailable: It took longer.
        Exception: What ``call`` raised.
    """
    raised: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:  # handed over to the caller's thread
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise Unavailable(f"no answer in {seconds:g} s")
    if raised:
        raise raised[0]


def probe(url: str) -> None:
    """Ask for the head of ``url``.

    Raises:
        Unavailable: The host does not answer. Any answer is enough: an error status is for the download to report.
    """
    request = Request(url, method="HEAD", headers={"User-Agent": f"segtricks/{__version__}"})
    try:
        within(PROBE_TIMEOUT, lambda: urlopen(request, timeout=PROBE_TIMEOUT).close())
    except HTTPError as error:
        error.close()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise Unavailable(getattr(reason, "strerror", None) or reason) from error
