"""The runner works wherever Python does: it imports the standard library and itself alone."""

import ast
import sys
from pathlib import Path

import runner

SOURCES = sorted(Path(runner.__file__).parent.glob("*.py"))


def imported_by(source: Path) -> set[str]:
    """Return the top packages that a file imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def test_the_runner_imports_the_standard_library_and_itself_alone() -> None:
    assert len(SOURCES) > 10
    for source in SOURCES:
        assert imported_by(source) <= sys.stdlib_module_names | {"runner"}, source.name
