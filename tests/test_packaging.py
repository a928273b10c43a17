"""What is published: the version, the wheel's files, and the page that an index shows."""

import re
import shutil
import subprocess
import sys
from email.message import Message
from email.parser import BytesParser
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest

import segtricks

pytest.importorskip("hatchling", reason="uv run --group packaging")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    return ZipFile(_build(ROOT, tmp_path_factory.mktemp("wheel")))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The least of the repository that can be built, not under version control."""
    folder = tmp_path / "tree"
    (folder / "segtricks").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "segtricks/__init__.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def _build(source: Path, output: Path) -> Path:
    words = ["-m", "hatchling", "build", "--target", "wheel", "--directory", str(output)]
    subprocess.run([sys.executable, *words], cwd=source, check=True, capture_output=True)
    (path,) = output.glob("*.whl")
    return path


def _metadata(wheel: ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return BytesParser().parsebytes(wheel.read(name))


def _git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("pattern", "at_least"),
    [
        ("segtricks/configs/*.yaml", 16),
        ("segtricks/configs/experiments/*.yaml", 8),
        ("segtricks/released/*.*", 3),
        ("segtricks/**/*.j2", 4),
        ("segtricks/**/*.json", 2),
        ("segtricks/**/*.pyi", 3),
        ("segtricks/**/*.py", 200),
        ("segtricks/py.typed", 1),
    ],
)
def test_wheel_has_every_file_of_the_package(wheel, pattern, at_least):
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)}
    assert len(files) >= at_least
    assert files <= set(wheel.namelist())


def test_wheel_has_nothing_but_the_package_its_metadata_and_its_licence(wheel):
    others = [name for name in wheel.namelist() if not name.startswith("segtricks/")]
    assert {Path(name).name for name in others} == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name]


def test_page_of_an_index_has_no_link_into_the_repository(wheel):
    page = _metadata(wheel).get_payload()
    assert "segtricks predict" in page
    targets = re.findall(r"\]\(([^)]*)\)", page)
    assert targets
    assert not [target for target in targets if not target.startswith(("https://", "#"))]


def test_image_is_built_from_files_that_the_build_may_see():
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    sources = " ".join(copied).split()
    assert {"pyproject.toml", "README.md", "LICENSE", "segtricks"} == set(sources)
    assert allowed[0] == "*"
    assert {f"!{source}" for source in sources} <= set(allowed)


def test_version_of_a_tagged_commit_is_the_tag(tree, tmp_path):
    _git(tree, "init", "--quiet")
    _git(tree, "add", "--all")
    _git(tree, "commit", "--quiet", "--message", "first")
    _git(tree, "tag", "v1.2.3")
    assert _build(tree, tmp_path / "tagged").name == "segtricks-1.2.3-py3-none-any.whl"


def test_version_of_a_clone_without_tags_counts_its_commits(tree, tmp_path):
    _git(tree, "init", "--quiet")
    _git(tree, "add", "--all")
    _git(tree, "commit", "--quiet", "--message", "first")
    assert _build(tree, tmp_path / "untagged").name.startswith("segtricks-0.1.dev1+g")


def test_version_of_an_archive_that_git_made_is_the_tag(tree, tmp_path):
    template = (ROOT / ".git_archival.txt").read_text(encoding="utf-8")
    described = template.replace("$Format:%(describe:tags=true,match=v[0-9]*)$", "v1.2.3")
    assert described != template
    (tree / ".git_archival.txt").write_text(described, encoding="utf-8")
    assert _build(tree, tmp_path / "archive").name == "segtricks-1.2.3-py3-none-any.whl"


def test_tree_without_version_control_can_be_built_too(tree, tmp_path):
    assert _build(tree, tmp_path / "plain").name == "segtricks-0.0-py3-none-any.whl"


def test_version_is_that_of_the_installed_package(monkeypatch):
    monkeypatch.setattr(metadata, "version", {"segtricks": "1.2.3"}.__getitem__)
    assert segtricks.__version__ == "1.2.3"


def test_source_tree_that_is_not_installed_has_a_version_too(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert segtricks.__version__ == "0+unknown"
