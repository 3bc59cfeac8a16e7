"""What the documents call by name exists, and every room says what it is."""

import ast
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APPS = ("config", "deploy", "models", "runner", "runs", "workspace")
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *(page for app in APPS for page in (ROOT / app).rglob("README.md")),
    ]
)
CODE = re.compile(r"`([^`\n]+)`")
# A part in capitals, as in workspace/compute/NAME/backend.py, stands for any name.
FILE = re.compile(r"(?!.*/[A-Z]+/)[\w./-]+\.py")
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
FOLDER = re.compile(rf"(?:{'|'.join(APPS)}|tests|docs)(?:/[a-z][a-z_]*)+/?")
NAME = re.compile(rf"(?!.*\.(?:py|json)$)(?:{'|'.join(APPS)})(?:\.[A-Za-z_]\w*)+")
ROOMS = sorted(
    folder
    for app in APPS
    for folder in [ROOT / app, *(ROOT / app).rglob("*")]
    if (folder / "__init__.py").is_file()
    and not {"migrations", "management", "templatetags"} & set(folder.parts)
)


def _missing(pattern: re.Pattern[str], exists: Callable[[Path, str], bool]) -> list[str]:
    """Return what the documents show in code style, fits the pattern and does not exist."""
    return [
        f"{page.relative_to(ROOT)}: {text}"
        for page in PAGES
        for text in dict.fromkeys(CODE.findall(page.read_text()))
        if pattern.fullmatch(text) and not exists(page, text)
    ]


def test_every_file_that_a_document_names_exists() -> None:
    # A name alone may also be that of a module which every app has, such as its models.
    places = [ROOT, *(ROOT / app for app in APPS)]
    assert not _missing(
        FILE,
        lambda page, path: any((place / path).is_file() for place in (*places, page.parent)),
    )


def test_every_test_that_a_document_names_exists() -> None:
    def is_there(page: Path, name: str) -> bool:
        path, _, function = name.partition("::")
        module = ast.parse((ROOT / path).read_text()) if (ROOT / path).is_file() else None
        return module is not None and function in {
            node.name
            for node in ast.walk(module)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    assert not _missing(TEST, is_there)


def test_every_folder_that_a_document_names_exists() -> None:
    assert not _missing(FOLDER, lambda page, path: (ROOT / path).is_dir())


def test_everything_that_a_document_calls_by_its_dotted_name_exists() -> None:
    assert not _missing(NAME, lambda page, name: _is_there(name))


def _is_there(name: str) -> bool:
    parts = name.split(".")
    modules = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    found = [module for module in modules if _is_module(module)]
    if not found:
        return False
    thing: object = import_module(found[-1])
    for attribute in parts[len(found) :]:
        if not hasattr(thing, attribute):
            return False
        thing = getattr(thing, attribute)
    return True


def _is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_says_what_it_is_what_passes_through_it_and_what_it_imports(room: Path) -> None:
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    what, *lines = [line for line in said.splitlines() if line]
    assert what.endswith(".")
    assert [line.split()[0] for line in lines] == ["In:", "Imports:"]
    assert "Out: " in lines[0]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_holds_no_more_than_a_reader_can_overlook(room: Path) -> None:
    assert len([file for file in room.glob("*.py") if not file.name.startswith("__")]) <= 18


def test_the_map_shows_every_room() -> None:
    shown = dict.fromkeys(CODE.findall((ROOT / "docs/architecture.md").read_text()))
    for room in ROOMS:
        path = room.relative_to(ROOT)
        is_inner = path.parts[:2] in {("deploy", "modelserver"), ("workspace", "compute")}
        assert str(path) in shown or is_inner, path
