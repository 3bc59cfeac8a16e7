"""Names and first words: one public class per name, and docstrings that begin with a verb."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
APPS = ("config", "deploy", "models", "runner", "runs", "workspace")
# Django looks for these by name.
EXPECTED_BY_DJANGO = {"Meta", "Media", "Command", "Migration"}


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for app in APPS:
        for source in sorted((ROOT / app).rglob("*.py")):
            yield str(source.relative_to(ROOT)), ast.parse(source.read_text())


def test_no_two_public_classes_share_a_name() -> None:
    places = defaultdict(list)
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path)
    shared = {name: where for name, where in places.items() if len(where) > 1}
    assert {name: shared[name] for name in shared.keys() - EXPECTED_BY_DJANGO} == {}


def test_docstrings_begin_with_what_the_function_does() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and (ast.get_docstring(node) or "").split(" ")[0].rstrip(",") in {"Give", "Gives"}
    ]
    assert found == []
