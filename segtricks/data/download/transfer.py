"""One file over HTTP: resumed where it broke off, tried again where the network failed."""

import http.client
import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from segtricks import __version__
from segtricks.data.download.archive import bytes_bar, check_room, in_words
from segtricks.errors import UserError
from segtricks.runs import replacing

TIMEOUT = 30.0  # seconds without a byte
WAITS = (1.0, 2.0, 4.0)  # seconds before each further attempt that gets no further
_CHUNK = 1 << 16
_BUSY = {408, 425, 429, 500, 502, 503, 504}


class TransferFailed(UserError):
    """An address that does not give the file; the message holds its answer."""


class _Broken(Exception):
    """An attempt that may succeed when it is repeated."""


class _Version(NamedTuple):
    """Which version of which file a partial file belongs to: its address, value for ``If-Range``, and length."""

    url: str = ""
    validator: str | None = None
    length: int | None = None


def transfer(url: str, part: Path, size: int | None = None, unpacked: int = 0) -> None:
    """Fetch ``url`` into ``part``, going on where an earlier transfer of the same file ended.

    Args:
        url: An ``http`` or ``https`` address.
        part: The partial file; on return it is complete, on an exception it holds what has come so far.
            :func:`remembered` is the file next to it that holds its origin.
        size: Its bytes as published, where known: a server that announces another number is not read.
        unpacked: Bytes that earlier archives will take when they are unpacked; room is needed for them too.

    Raises:
        TransferFailed: The address is refused, is not there, does not answer, or has another file.
        UserError: The disk has no room for the file and for its contents.
    """
    check_address(url)
    part.parent.mkdir(parents=True, exist_ok=True)
    furthest, failures = _length(part), 0
    while True:
        try:
            return _attempt(url, part, size, unpacked)
        except _Broken as error:
            reached = _length(part)
            failures = 1 if reached > furthest else failures + 1
            furthest = max(reached, furthest)
            if failures > len(WAITS):
                kept = f" What has come, {in_words(reached)}, is kept." if reached else ""
                raise TransferFailed(f"{url}: {error}, {failures} times in a row.{kept}") from error
            wait = WAITS[failures - 1]
            print(f"{part.stem}: {error}; again in {wait:g} s", flush=True)
            time.sleep(wait)


def remembered(part: Path) -> Path:
    """The JSON file next to a partial file that holds its address and the server's version of it."""
    return part.with_name(f"{part.name}.json")


def check_address(url: str) -> None:
    """Raise ``TransferFailed`` unless ``url`` is an ``http`` or ``https`` address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TransferFailed(f"{url!r} is not an address to fetch from: http:// and https:// are allowed.")


def _attempt(url: str, part: Path, size: int | None, unpacked: int) -> None:
    known = _recall(part)
    done = _length(part) if known.url == url else 0
    if done and done == known.length:
        return  # stopped between the last byte and the check
    if known.validator is None:
        done = 0
    headers = {"User-Agent": f"segtricks/{__version__}", "Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": str(known.validator)}
    with _network(url, part):
        response = build_opener(_Redirects()).open(Request(url, headers=headers), timeout=TIMEOUT)
    with response:
        remote = _version(url, response.headers)
        start = done if response.status == 206 else 0
        # Not every server heeds the condition, or answers with the range that was asked for.
        if start and (remote != known or not _continues(response.headers, start)):
            raise _changed(part)
        expected = _checked_size(remote, size)
        if expected is not None:
            what = f"{part.stem} ({in_words(expected)}), with the room to unpack it,"
            check_room(part.parent, expected - start + expected + unpacked, what)
        if start:
            print(f"{part.stem}: going on after {in_words(start)}", flush=True)
        elif done:
            print(f"{part.stem}: the server starts over (changed file, or no resuming)", flush=True)
        _save(response, part, remote, start, expected)
    if remote.length is not None and _length(part) != remote.length:
        raise _Broken(f"the connection ended after {in_words(_length(part))} of {in_words(remote.length)}")


@contextmanager
def _network(url: str, part: Path) -> Iterator[None]:
    """Errors of the network as ``_Broken`` or ``TransferFailed``."""
    try:
        yield
    except HTTPError as error:
        error.close()
        if error.code == 416:
            raise _changed(part) from error
        if error.code in _BUSY:
            raise _Broken(f"the server answers {error.code} {error.reason}") from error
        raise TransferFailed(f"{url} answers {error.code} {error.reason}.") from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise TransferFailed(f"{url}: {reason.verify_message}.") from error
        raise _Broken(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__) from error


def _changed(part: Path) -> _Broken:
    part.unlink(missing_ok=True)
    return _Broken("the file at this address has changed")


def _version(url: str, headers: Mapping[str, str]) -> _Version:
    length = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    etag = headers.get("ETag")
    weak = etag is None or etag.startswith("W/")  # not allowed in If-Range (RFC 9110, 13.1.5)
    validator = headers.get("Last-Modified") if weak else etag
    return _Version(url, validator, int(length) if length.isdigit() else None)


def _continues(headers: Mapping[str, str], start: int) -> bool:
    """Whether a partial answer goes from ``start`` to the end of the file."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
    return match is not None and int(match[1]) == start and int(match[2]) == int(match[3]) - 1


def _checked_size(remote: _Version, size: int | None) -> int | None:
    """Bytes to expect, where the server or the publication states them."""
    if None not in (size, remote.length) and remote.length != size:
        raise TransferFailed(f"{remote.url} is a file of {remote.length:,} bytes, {size:,} were published.")
    return remote.length or size


def _save(response: IO[bytes], part: Path, remote: _Version, start: int, expected: int | None) -> None:
    if not start:
        with replacing(remembered(part)) as temporary:
            temporary.write_text(json.dumps(remote._asdict()))
    with part.open("ab" if start else "wb") as file, bytes_bar(part.stem, expected, start) as bar:
        while True:
            with _network(remote.url, part):
                chunk = response.read(_CHUNK)
            if not chunk:
                return
            file.write(chunk)
            bar.update(len(chunk))


def _recall(part: Path) -> _Version:
    try:
        return _Version(**json.loads(remembered(part).read_text()))
    except (OSError, ValueError, TypeError):
        return _Version()


def _length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


class _Redirects(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        check_address(newurl)
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme == "http":
            raise TransferFailed(
                f"{req.full_url} leads to {newurl}, which is not encrypted: refused, since anyone on the way could "
                "exchange the file."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)
