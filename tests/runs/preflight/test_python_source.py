"""Which files the preflight reads, and what it makes of those it can't."""

from collections.abc import Callable

import pytest

from runs.preflight.python_source import MAX_TARGETS, read_source
from tests.runs.preflight.preflight_checks import ESTIMATOR, codes_of, findings_of

REACHED = [
    ("import net", "net.py"),
    ("import lib.net", "lib/net.py"),
    ("from lib import net", "lib/net.py"),
    ("from lib.net import build", "lib/net.py"),
    ("from lib import *", "lib/__init__.py"),
    ("import a", "b.py"),
]


@pytest.mark.parametrize(("script", "culprit"), REACHED)
def test_files_reached_by_import_are_checked(script: str, culprit: str) -> None:
    files = {"train.py": script, "a.py": "import b", "lib/net.py": "x = 1", "net.py": "x = 1"}
    (finding,) = findings_of({**files, "b.py": "x = 1", culprit: ESTIMATOR})
    assert (finding.code, finding.path, finding.line) == ("estimator-ended", culprit, 2)


def test_relative_imports_and_cycles_are_followed() -> None:
    files = {
        "train.py": "from lib.deep import one",
        "lib/deep/one.py": "from . import two\nfrom .. import three",
        "lib/deep/two.py": "from .one import x",
        "lib/three.py": ESTIMATOR,
    }
    assert [finding.path for finding in findings_of(files)] == ["lib/three.py"]


def test_files_out_of_reach_are_never_read() -> None:
    def explode() -> bytes:
        raise AssertionError("read without need")

    files: dict[str, bytes | Callable[[], bytes]] = {
        "train.py": lambda: b"import near",
        "near.py": b"x = 1",
    }
    files |= {f"far/{n}.py": explode for n in range(2000)}
    assert findings_of(files) == []


def test_a_file_beside_a_nested_entry_script_is_found_and_one_at_the_top_is_not() -> None:
    files = {"src/train.py": "import near, common", "src/near.py": "", "common.py": ESTIMATOR}
    refused, warned = findings_of(files, entry_script="src/train.py")
    assert (refused.code, refused.path) == ("estimator-ended", "common.py")
    assert (warned.code, warned.level) == ("import-off-path", "warn")
    assert "PYTHONPATH" in warned.remedy

    variables = {"PYTHONPATH": "/opt/lib:."}
    (only,) = findings_of(files, entry_script="src/train.py", environment_variables=variables)
    assert only.code == "estimator-ended"


def test_a_broken_file_in_reach_is_refused_unless_its_failure_is_caught() -> None:
    broken = {"net.py": "def ("}
    assert codes_of({"train.py": "import net", **broken}) == [("refuse", "unreadable")]
    caught = "try:\n    import net\nexcept Exception:\n    pass"
    assert codes_of({"train.py": caught, **broken}) == [("warn", "unreadable")]


@pytest.mark.parametrize("codec", ["hex", "rot13", "zip", "punycode", "undefined", "no-codec"])
def test_an_encoding_that_python_reads_no_source_in_is_refused(codec: str) -> None:
    files = {"train.py": "import net", "net.py": f"# coding: {codec}\nx = 1"}
    (finding,) = findings_of(files)
    assert (finding.level, finding.code, finding.path) == ("refuse", "unreadable", "net.py")


def test_names_that_stand_for_each_other_stand_for_few_things() -> None:
    doubling = (f"b = a.x{n}\na = b.y{n}" for n in range(200))
    script = "\n".join(["import tensorflow as a", *doubling, *["a.z"] * 100])

    uses = read_source("train.py", script.encode()).uses

    assert len(uses) <= MAX_TARGETS * (2 * 200 + 100)
    assert "tensorflow.z" in {use.name for use in uses}


def test_what_is_too_large_or_too_deep_is_left_out_with_a_warning() -> None:
    large = {"train.py": "import big", "big.py": "x = 1\n" * 200_000}
    (finding,) = findings_of(large)
    assert (finding.level, finding.code, finding.path) == ("warn", "not-checked", "big.py")
    deep = {"train.py": "import deep", "deep.py": "x = " + "-" * 50_000 + "1"}
    (finding,) = findings_of(deep)
    assert (finding.level, finding.path) == ("warn", "deep.py")


def test_nothing_is_concluded_from_absence_when_a_file_was_not_read() -> None:
    files = {"train.py": "import big", "big.py": "x = 1\n" * 200_000}
    assert codes_of(files, mode="multi_worker") == [("warn", "not-checked")]
