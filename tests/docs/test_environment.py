"""Every environment variable is in a table of the docs; every setting may come from a file."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import ROOT, codes_in, rows_of, text_of
from workspace.compute.images.build_variables import build_variables, conda_channel
from workspace.platform import env

PRODUCT = ("manage.py", "config", "workspace", "runs", "models", "deploy", "runner")
READERS = {
    "text",
    "secret",
    "boolean",
    "number",
    "days",
    "words",
    "networks",
    "writable_folder",
    "existing_file",
    "origin",
}
OF_PROGRAMS = ("runs/launch/cluster.py", "runner/session.py")
OURS = re.compile(r"TRAINYARD_[A-Z_]*[A-Z]|TF_CONFIG")
SPEAKS_OF_VARIABLES = re.compile(r"\benv\.|os\.environ|TRAINYARD_|TF_CONFIG")
NAME = re.compile(r"[A-Z][A-Z0-9_]{3,}")
# Fixed in the image, or of use only with files or programs that are not in it.
OF_THE_IMAGE = {"TRAINYARD_HOME", "TRAINYARD_BIND", "TRAINYARD_CA_BUNDLE", "DOCKER_HOST", "DEBUG"}
# Of the operating system and of Django.
FOREIGN = {"PATH", "DJANGO_SETTINGS_MODULE", "XDG_CACHE_HOME"}


def sources(*places: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield the files below some folders that speak of variables: name and syntax tree."""
    for place in places:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            if tree := parsed(file):
                yield file.relative_to(ROOT).as_posix(), tree


@cache
def parsed(file: Path) -> ast.Module | None:
    text = file.read_text()
    return ast.parse(text) if SPEAKS_OF_VARIABLES.search(text) else None


def names_of_readers(tree: ast.AST) -> set[str]:
    """Return the names that are read as `env.READER(NAME)`."""
    return {
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "env"
        and node.func.attr in READERS
        and isinstance(node.args[0], ast.Constant)
    }


def names_of_environ(tree: ast.AST) -> set[str]:
    """Return the names that `os.environ` is asked for."""
    found: set[ast.expr] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=asked), args=[name, *_]):
                pass
            case ast.Subscript(value=asked, slice=name, ctx=ast.Load()):
                pass
            case ast.Compare(left=name, comparators=[asked]):
                pass
            case _:
                continue
        if ast.unparse(asked) == "os.environ":
            found.add(name)
    return {str(name.value) for name in found if isinstance(name, ast.Constant)}


def names_set(tree: ast.AST) -> set[str]:
    """Return the names that dicts of variables are given: as keys and by assignment."""
    found: set[ast.expr | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            found |= set(node.keys)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            found.add(node.slice)
    names = {str(name.value) for name in found if isinstance(name, ast.Constant)}
    return {name for name in names if NAME.fullmatch(name)}


def names_written_out(tree: ast.AST) -> set[str]:
    values = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {value for value in values if isinstance(value, str) and OURS.fullmatch(value)}


def names_in_code() -> set[str]:
    found: set[str] = set()
    for _, tree in sources(*PRODUCT):
        found |= names_of_readers(tree) | names_of_environ(tree) | names_written_out(tree)
    for _, tree in sources(*OF_PROGRAMS):
        found |= names_set(tree)
    for _, tree in sources("tests", "bench"):
        found |= {name for name in names_of_environ(tree) if OURS.fullmatch(name)}
    return (found | {"FULL"}) - FOREIGN


def names_in(page: str) -> set[str]:
    return {name for row in rows_of(page, "variable") for name in codes_in(row[0])}


def test_every_variable_of_the_code_is_documented_and_nothing_else() -> None:
    documented = names_in("README.md") | names_in("docs/environment.md")
    assert documented == names_in_code()


def test_the_variables_of_compose_are_documented_and_nothing_else() -> None:
    compose = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text()))
    build = set(re.findall(r"^ARG ([A-Z_]+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert names_in("docs/operations.md") == compose | build


def test_every_setting_can_be_set_for_the_containers_of_compose() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    passed = services["start"]["environment"].keys()
    assert names_in("README.md") - passed == OF_THE_IMAGE
    for part in ("web", "worker", "supervisor"):
        assert passed - services[part]["environment"].keys() == {"TRAINYARD_ADMIN_PASSWORD"}


def test_every_setting_is_read_by_the_readers_that_know_name_file() -> None:
    assert "`NAME_FILE`" in text_of("README.md")
    read: set[str] = set()
    for name, tree in sources(*PRODUCT):
        read |= names_of_readers(tree)
        past_readers = names_of_environ(tree) & names_in("README.md")
        assert not past_readers, f"{name} reads {past_readers} from os.environ"
    assert names_in("README.md") <= read


def test_a_file_may_hold_the_value_for_every_reader(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def value_of_file(content: str) -> None:
        (tmp_path / "value").write_text(f"{content}\n")

    monkeypatch.setenv("SOME_FILE", str(tmp_path / "value"))
    value_of_file("1")
    assert env.text("SOME") == "1"
    assert env.boolean("SOME") is True
    assert env.number("SOME", 7, low=0, high=9) == 1
    value_of_file("a, b")
    assert env.words("SOME") == ["a", "b"]
    value_of_file(str(tmp_path / "home"))
    assert env.writable_folder("SOME", Path("/elsewhere")) == tmp_path / "home"
    value_of_file(str(tmp_path / "value"))
    assert env.existing_file("SOME") == str(tmp_path / "value")
    value_of_file("https://trainyard.example")
    assert env.origin("SOME", "http://localhost") == "https://trainyard.example"


def test_the_conda_channel_may_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "channel").write_text("https://mirror.example/forge/\n")
    monkeypatch.setenv("TRAINYARD_CONDA_CHANNEL_FILE", str(tmp_path / "channel"))
    assert conda_channel() == "https://mirror.example/forge"
    assert build_variables({})["TRAINYARD_CONDA_CHANNEL"] == "https://mirror.example/forge"
