"""What the log of a model server says of a model that it cannot load."""

import pytest

from deploy.supervision.load_failure import (
    LoadFailure,
    describe_load_failure,
    find_load_failure,
)

START = "2026-11-30 12:00:00 ERROR Failed to start server. Error: "
NONE_AVAILABLE = "UNKNOWN: 1 servable(s) did not become available: "


def log(code: str, words: str) -> list[str]:
    text = f"{START}{NONE_AVAILABLE}{{{{{{name: m version: 1}} due to error: {code}: {words}}}, }}"
    return ["Loading version 1 of model m", *text.splitlines(), "the last line"]


@pytest.mark.parametrize(
    ("code", "may_pass"),
    [
        ("NOT_FOUND", False),
        ("INVALID_ARGUMENT", False),
        ("DATA_LOSS", False),
        ("INTERNAL", False),
        ("UNKNOWN", False),
        ("FAILED_PRECONDITION", False),
        ("UNIMPLEMENTED", False),
        ("RESOURCE_EXHAUSTED", True),
        ("UNAVAILABLE", True),
    ],
)
def test_the_code_says_whether_another_try_may_help(code: str, may_pass: bool) -> None:
    assert find_load_failure(log(code, "no")) == LoadFailure("no", may_pass)


@pytest.mark.parametrize(
    "words", ["one line", "two\nlines", "a {dictionary: 1} in it", "ends in a point."]
)
def test_the_words_are_whole(words: str) -> None:
    found = find_load_failure(log("NOT_FOUND", words))
    assert found is not None
    assert found.words == words


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Loading version 1"],
        [f"{START}can't listen on 127.0.0.1:8501: address already in use"],
        ["due to error: NOT_FOUND: said by the model}, }"],
    ],
)
def test_other_ends_are_no_load_failures(lines: list[str]) -> None:
    assert find_load_failure(lines) is None


def test_an_operation_that_is_not_there_is_told_with_its_library_and_a_way_out() -> None:
    findings = [
        {"kind": "custom_ops", "message": "It has operations of TensorFlow Text."},
        {"kind": "large", "message": "It is large."},
    ]
    words = describe_load_failure("Op type not registered 'Tokenize' in binary.", findings)
    assert words.startswith("could not load the model: Op type not registered 'Tokenize'")
    assert "It has operations of TensorFlow Text. The model server has" in words
    assert "Deploy the model to a target whose containers" in words
    assert "It is large" not in words
    assert describe_load_failure("damaged", findings) == "could not load the model: damaged"
