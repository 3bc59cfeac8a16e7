"""Text from programs, made safe to keep."""

import pytest

from runs.logs.text import shown
from workspace.compute.base import BackendError, Node, ProcessStatus, ProcessStatusState
from workspace.compute.program_text import clean_text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", ""),
        ("plain", "plain"),
        ("ü\t\x1b[31m\n", "ü\t\x1b[31m\n"),
        ("a\0b", "a\ufffdb"),
        ("\ud800\udfff", "\ufffd\ufffd"),
        ("x" * 11, "x" * 9 + "…"),
    ],
)
def test_only_what_no_database_holds_is_replaced(text: str, cleaned: str) -> None:
    assert clean_text(text, 10) == cleaned
    clean_text(text, 10).encode()


def test_it_is_used_at_every_door() -> None:
    assert shown(b"last\0words") == "last\ufffdwords"
    status = ProcessStatus("worker-0", ProcessStatusState.EXITED, 1, "a\0b" + "x" * 5000)
    assert status.reason.startswith("a\ufffdb")
    assert len(status.reason) == 2000
    assert Node("a\0host", 1.0, 1, message="b\0").name == "a\ufffdhost"
    assert str(BackendError("an engine's \0 words")) == "an engine's \ufffd words"
