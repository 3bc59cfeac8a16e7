"""The seam holds: nothing outside workspace/compute depends on what kind a target is."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workspace.compute.access import TargetAccess
from workspace.compute.base import Backend
from workspace.compute.registry import KINDS, make_backend
from workspace.models import ComputeTarget, Environment
from workspace.targets.forms import TargetForm, form_name
from workspace.targets.settings import TargetSettings

ROOT = Path(__file__).parents[2]
APPS = ("config", "workspace", "runs", "models", "deploy")
ALLOWED = ("workspace/compute/", "workspace/targets/forms.py")
QUERIES = {"filter", "exclude", "get", "Q"}
IMPORT_ALL = """
import importlib, pkgutil, sys
import workspace.compute as room
for module in pkgutil.walk_packages(room.__path__, "workspace.compute."):
    importlib.import_module(module.name)
rows = {"workspace.models", "runs.models", "models.models", "deploy.models"}
print(sorted(rows & set(sys.modules)))
"""


def sources() -> Iterator[Path]:
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            place = path.relative_to(ROOT).as_posix()
            if "/migrations/" not in place and not place.startswith(ALLOWED):
                yield path


def names_a_kind(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Constant) and one.value in KINDS for one in ast.walk(node))


def is_kind(node: ast.AST) -> bool:
    """Return whether an expression is called kind, as in target.kind or str(kind)."""
    return any(
        (isinstance(one, ast.Attribute) and one.attr == "kind")
        or (isinstance(one, ast.Name) and one.id == "kind")
        for one in ast.walk(node)
    )


def compares_kinds(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        return any(map(is_kind, operands)) and any(map(names_a_kind, operands))
    if isinstance(node, ast.Match):
        return is_kind(node.subject) and any(map(names_a_kind, node.cases))
    if isinstance(node, ast.Subscript):
        return is_kind(node.slice) and names_a_kind(node.value)
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = node.func.id if isinstance(node.func, ast.Name) else called
        asked = [k.value for k in node.keywords if (k.arg or "").partition("__")[0] == "kind"]
        return called in QUERIES and any(map(names_a_kind, asked))
    return False


def test_the_kind_of_a_target_is_compared_in_its_own_room_alone() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.expr, ast.stmt)) and compares_kinds(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "target.kind == 'local'",
        "'docker' != group.target.kind",
        "str(kind) in ('docker', 'swarm')",
        "Target.objects.exclude(kind='local')",
        "Q(kind__in=['docker'])",
        "{'docker': 1, 'local': 2}[target.kind]",
        "match target.kind:\n    case 'swarm':\n        pass",
    ],
)
def test_such_lines_would_be_found(line: str) -> None:
    assert any(map(compares_kinds, ast.walk(ast.parse(line))))


def test_templates_compare_no_kinds() -> None:
    kinds = "|".join(KINDS)
    compared = re.compile(rf"""\bkind\b\s*(==|!=|in)\s*["'][^"']*({kinds})""")
    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "templates").rglob("*.html")
        if compared.search(path.read_text())
    ]
    assert found == []


def test_backends_import_no_model() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_new_kind_needs_no_migration() -> None:
    for model in (ComputeTarget, Environment):
        field = model._meta.get_field("kind")
        assert not field.choices


@pytest.mark.parametrize("kind", KINDS)
def test_a_registered_kind_has_a_backend_and_a_form_for_its_settings(kind: str) -> None:
    backend = make_backend(kind, TargetAccess(home="/nowhere", address="tcp://127.0.0.1:1"))
    assert isinstance(backend, Backend)
    assert KINDS[kind].settings <= TargetSettings.model_fields.keys()
    shown = {form_name(name) for name in KINDS[kind].settings}
    assert shown <= TargetForm(kind=kind).fields.keys()
