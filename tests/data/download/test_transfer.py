import shutil
from collections import namedtuple
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from urllib.request import Request

import pytest

from segtricks.data.download import transfer as module
from segtricks.data.download.transfer import TransferFailed, _Redirects, remembered, transfer
from segtricks.errors import UserError

from .download_server import Server, serving

CONTENT = bytes(range(256)) * 400  # 102,400 bytes, more than one read
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.files["a.zip"] = CONTENT
        yield server


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits in seconds, noted instead of waited."""
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    return waits


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / ".downloads" / "a.zip.part"


def _stopped(server: Server, part: Path, monkeypatch: pytest.MonkeyPatch, after: int = 70_000) -> None:
    """A transfer that the connection's end stopped, without a further attempt."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "WAITS", ())
        server.cuts = [after]
        with pytest.raises(TransferFailed, match=r"ended after 70\.0 kB of 102\.4 kB, 1 times .* 70\.0 kB, is kept"):
            transfer(server.url("a.zip"), part)
    assert part.read_bytes() == CONTENT[:after]
    server.log.clear()


def test_a_whole_file_takes_one_request(server, part) -> None:  # type: ignore[no-untyped-def]
    transfer(server.url("a.zip"), part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.log == [("a.zip", None)]


def test_a_broken_connection_is_continued_at_its_byte(server, part, waits) -> None:  # type: ignore[no-untyped-def]
    server.cuts = [30_000, *[10_000] * 7]  # more often than attempts that get no further are repeated
    transfer(server.url("a.zip"), part)
    assert part.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.log] == [None, *(f"bytes={n}0000-" for n in range(3, 11))]


def test_a_stopped_transfer_is_continued_by_the_next_call(server, part, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    _stopped(server, part, monkeypatch)
    transfer(server.url("a.zip"), part)
    assert capsys.readouterr().out == "a.zip: going on after 70.0 kB\n"
    assert part.read_bytes() == CONTENT
    assert server.log == [("a.zip", "bytes=70000-")]


def test_a_complete_part_that_was_not_checked_yet_is_not_asked_for_again(server, part) -> None:  # type: ignore[no-untyped-def]
    transfer(server.url("a.zip"), part)
    transfer(server.url("a.zip"), part)
    assert len(server.log) == 1


def test_a_server_without_ranges_starts_over(server, part, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    server.ranges = False
    _stopped(server, part, monkeypatch)
    transfer(server.url("a.zip"), part)
    assert part.read_bytes() == CONTENT
    assert "starts over" in capsys.readouterr().out


@pytest.mark.parametrize("length", [len(CONTENT), 80_000, 60_000])
def test_a_file_that_changed_in_between_is_fetched_from_its_start(server, part, monkeypatch, length) -> None:  # type: ignore[no-untyped-def]
    _stopped(server, part, monkeypatch)
    server.etag, server.files["a.zip"] = '"two"', CONTENT[::-1][:length]
    transfer(server.url("a.zip"), part)
    assert part.read_bytes() == CONTENT[::-1][:length]
    assert len(server.log) == 1  # the condition was sent along


def test_without_validators_a_file_is_fetched_from_its_start(server, part, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    server.etag = None
    _stopped(server, part, monkeypatch)
    transfer(server.url("a.zip"), part)
    assert part.read_bytes() == CONTENT
    assert server.log == [("a.zip", None)]


def test_a_changed_file_is_seen_where_the_server_heeds_no_condition(server, part, monkeypatch, waits) -> None:  # type: ignore[no-untyped-def]
    _stopped(server, part, monkeypatch)
    server.conditions, server.etag, server.files["a.zip"] = False, '"two"', CONTENT[::-1]
    transfer(server.url("a.zip"), part)
    assert part.read_bytes() == CONTENT[::-1]


def test_another_answer_than_the_range_that_was_asked_for_is_not_appended(server, part, monkeypatch, waits) -> None:  # type: ignore[no-untyped-def]
    _stopped(server, part, monkeypatch)
    server.content_range = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
    transfer(server.url("a.zip"), part)
    assert part.read_bytes() == CONTENT


def test_another_address_is_not_continued(server, part, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    _stopped(server, part, monkeypatch)
    server.files["b.zip"] = CONTENT[::-1]
    transfer(server.url("b.zip"), part)
    assert part.read_bytes() == CONTENT[::-1]
    assert server.log == [("b.zip", None)]


def test_a_part_of_unknown_origin_is_not_continued(server, part) -> None:  # type: ignore[no-untyped-def]
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000)
    remembered(part).write_text("{")
    transfer(server.url("a.zip"), part)
    assert part.read_bytes() == CONTENT


def test_a_length_that_the_server_does_not_state_is_no_obstacle(server, part) -> None:  # type: ignore[no-untyped-def]
    server.lengths = False
    transfer(server.url("a.zip"), part)
    assert part.read_bytes() == CONTENT


def test_a_busy_server_is_asked_again_after_growing_waits(server, part, waits) -> None:  # type: ignore[no-untyped-def]
    server.statuses = [503, 429]
    transfer(server.url("a.zip"), part)
    assert part.read_bytes() == CONTENT
    assert waits[:2] == [1, 2]


def test_attempts_that_get_no_further_end(server, part, waits) -> None:  # type: ignore[no-untyped-def]
    server.ranges = False  # each attempt starts over and breaks at the same byte
    server.cuts = [1000] * 9
    with pytest.raises(TransferFailed, match=r"ended after 1\.0 kB of 102\.4 kB, 4 times in a row"):
        transfer(server.url("a.zip"), part)
    assert len(server.log) == 4


def test_a_missing_file_is_not_asked_for_again(server, part, waits) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TransferFailed, match=r"/gone\.zip answers 404 Not Found\.$"):
        transfer(server.url("gone.zip"), part)
    assert len(server.log) == 1
    assert waits == []


def test_no_server_at_all_says_so_after_a_few_attempts(part, waits) -> None:  # type: ignore[no-untyped-def]
    with serving() as server:
        url = server.url("a.zip")
    with pytest.raises(TransferFailed, match=r"a\.zip: Connection refused, 4 times in a row\.$"):
        transfer(url, part)
    assert waits == [1, 2, 4]


def test_another_size_than_the_published_one_is_not_read(server, part) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TransferFailed, match=r"a file of 102,400 bytes, 102,399 were published\."):
        transfer(server.url("a.zip"), part, size=102_399)
    assert not part.exists()


@pytest.mark.parametrize("done", [0, 70_000])
def test_room_for_the_file_and_its_contents_is_asked_for_first(server, part, monkeypatch, done) -> None:  # type: ignore[no-untyped-def]
    if done:
        _stopped(server, part, monkeypatch)
    needed = 102_400 - done + 102_400 + 50_000  # the rest of it, what is in it, and what is in earlier archives
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 0, needed - 1))
    with pytest.raises(UserError, match=r"a\.zip \(102\.4 kB\).* needs .* kB, but .* kB are free in .*\.downloads"):
        transfer(server.url("a.zip"), part, unpacked=50_000)
    assert (part.stat().st_size if part.exists() else 0) == done
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 0, needed))
    transfer(server.url("a.zip"), part, unpacked=50_000)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a.zip", "a.zip", "http:///a.zip", ""])
def test_other_addresses_than_http_are_refused(part, url: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TransferFailed, match="is not an address to fetch from: http:// and https:// are allowed"):
        transfer(url, part)


def test_a_redirect_is_followed_with_its_range(server, part, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    server.redirects["old"] = server.url("a.zip")
    server.cuts = [70_000]
    monkeypatch.setattr(module, "WAITS", (0.0,))
    transfer(server.url("old"), part)
    assert part.read_bytes() == CONTENT
    assert server.log == [("old", None), ("a.zip", None), ("old", "bytes=70000-"), ("a.zip", "bytes=70000-")]


@pytest.mark.parametrize(
    ("place", "message"),
    [("file:///etc/passwd", "not allowed"), ("ftp://127.0.0.1/a.zip", "not an address to fetch from")],
)
def test_a_redirect_to_something_else_than_http_is_refused(server, part, place: str, message: str) -> None:  # type: ignore[no-untyped-def]
    server.redirects["old"] = place
    with pytest.raises(TransferFailed, match=message):
        transfer(server.url("old"), part)
    assert not part.exists()


@pytest.mark.parametrize(
    ("start", "place", "refused"),
    [("https", "http", True), ("https", "https", False), ("http", "http", False), ("http", "https", False)],
)
def test_only_redirects_that_drop_the_encryption_are_refused(start: str, place: str, refused: bool) -> None:
    def follow() -> Request | None:
        old, new = f"{start}://host/a.zip", f"{place}://mirror/a.zip"
        return _Redirects().redirect_request(Request(old), None, 302, "Found", Message(), new)  # type: ignore[arg-type]

    if refused:
        with pytest.raises(TransferFailed, match="which is not encrypted: refused"):
            follow()
    else:
        assert follow().full_url == f"{place}://mirror/a.zip"  # type: ignore[union-attr]
