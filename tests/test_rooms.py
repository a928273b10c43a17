"""The order of the packages: each imports those before it in the list, and none after it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import segtricks

ROOMS = (
    "data",
    "backbones",
    "heads",
    "losses",
    "refine",
    "discovery",
    "pseudo_labels",
    "metrics",
    "scoring",
    "training",
    "methods",
    "reports",
    "experiments",
    "commands",
)
PACKAGE = Path(segtricks.__file__).parent


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _rooms_of(names: Iterator[str]) -> Iterator[str]:
    for name in names:
        parts = name.split(".")
        if parts[0] == "segtricks" and len(parts) > 1 and parts[1] in ROOMS:
            yield parts[1]


def test_every_package_has_its_place_in_the_order():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(ROOMS) & packages


def test_imports_run_one_way():
    backwards = [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for room in ROOMS
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for other in _rooms_of(_imports(path))
        if ROOMS.index(other) > ROOMS.index(room)
    ]
    assert backwards == []


def test_the_package_itself_is_no_way_around_the_order():
    early = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "cli"}
    around = [
        f"{stem}.py imports {other}" for stem in sorted(early) for other in _rooms_of(_imports(PACKAGE / f"{stem}.py"))
    ]
    assert around == []


def test_no_public_name_is_defined_in_two_modules():
    places: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, set()).add(str(path.relative_to(PACKAGE)))
    several = {name: sorted(files) for name, files in places.items() if len(files) > 1 and name != "main"}
    assert several == {}
