import hashlib
import tarfile
import zipfile
from pathlib import Path

import pytest

from segtricks.data.datasets.registry import PUBLISHED
from segtricks.data.download.archive import Archive, checksum_of, in_words

# Checksums of "abc": RFC 1321, A.5, and FIPS 180-2, B.1.
MD5 = "900150983cd24fb0d6963f7d28e17f72"
SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def abc(tmp_path: Path) -> Path:
    (tmp_path / "abc").write_bytes(b"abc")
    return tmp_path / "abc"


def test_the_name_is_the_last_part_of_the_address() -> None:
    assert Archive("https://host/a/My%20set.zip?download=1").name == "My set.zip"


@pytest.mark.parametrize(
    ("name", "packed"), [("a.ZIP", True), ("a.tar.gz", True), ("a.zip.zip", True), ("a.txt", False)]
)
def test_only_archives_are_unpacked(name: str, packed: bool) -> None:
    assert Archive(f"https://host/{name}").packed is packed


@pytest.mark.parametrize(
    ("known", "wrong"),
    [
        ({"size": 3, "md5": MD5, "sha256": SHA256}, None),
        ({"md5": MD5}, None),
        ({}, None),
        ({"md5": "0" * 32, "sha256": SHA256}, None),  # the better function decides alone
        ({"size": 4, "sha256": SHA256}, "it has 3 bytes, 4 were published"),
        ({"md5": "0" * 32}, f"its md5 is {MD5}, {'0' * 32} was published"),
        ({"md5": MD5, "sha256": "0" * 64}, f"its sha256 is {SHA256}, {'0' * 64} was published"),
    ],
)
def test_all_that_is_known_must_agree(abc: Path, known, wrong: str | None) -> None:  # type: ignore[no-untyped-def]
    assert Archive("https://host/list.txt", **known).mismatch(abc) == wrong


def test_without_a_checksum_an_archive_must_at_least_be_one(tmp_path: Path, abc: Path) -> None:
    archive = Archive("https://host/set.zip")
    assert archive.mismatch(abc) == "it is neither zip nor tar, and begins with b'abc'"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(abc)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        file.add(abc)
    assert archive.mismatch(tmp_path / "a.zip") is None
    assert archive.mismatch(tmp_path / "a.tar.gz") is None


def test_long_files_have_the_checksum_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(bytes(range(251)) * 10_000)
    assert checksum_of(path, "md5") == hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (270_997_309, "271.0 MB"), (13_510_573_713, "13.5 GB")],
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words


def test_archives_of_all_datasets_have_names_of_their_own() -> None:
    archives = [archive for kind in PUBLISHED.values() for archive in kind.archives]
    names = [name for name, _ in {(archive.name, archive.url) for archive in archives}]
    assert len(names) == len(set(names))
