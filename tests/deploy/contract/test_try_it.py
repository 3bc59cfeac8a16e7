"""What the form that tries a service offers, and how answers are read."""

import json
from typing import Any

import pytest

from deploy.contract.predictions import MAX_ROWS, parse_prediction
from deploy.contract.signatures import signatures_of
from deploy.contract.try_form import try_form
from tests.deploy.contract.signatures import version_with


@pytest.mark.parametrize(
    ("dtype", "shape", "name", "widget"),
    [
        ("float32", [-1, 28, 28], "x", "image"),
        ("uint8", [-1, 32, 32, 3], "x", "image"),
        ("float32", [-1, 32, 32, 1], "x", "image"),
        ("float32", [-1, 32, 32, 4], "x", "json"),
        ("float32", [-1, 2, 2], "x", "number"),
        ("float32", [-1, 4], "x", "number"),
        ("int64", [-1], "x", "number"),
        ("int64", [], "x", "number"),
        ("float32", [-1, 25], "x", "json"),
        ("float32", [-1, -1], "x", "json"),
        ("float32", None, "x", "json"),
        ("bool", [-1], "x", "bool"),
        ("string", [-1], "x", "text"),
        ("string", [-1, 2], "x", "text"),
        ("string", [-1], "examples", "example"),
    ],
)
def test_each_input_gets_a_widget_that_fits(
    dtype: str, shape: list[int] | None, name: str, widget: str
) -> None:
    form = try_form(signatures_of(version_with({name: (dtype, shape)})))
    assert form[0]["inputs"][0]["widget"] == widget


def test_the_range_of_whole_numbers_is_told_as_text() -> None:
    form = try_form(signatures_of(version_with({"n": ("int64", [-1])})))
    assert form[0]["inputs"][0]["range"] == ["-9223372036854775808", "9223372036854775807"]


def answer(content: Any) -> bytes:
    return json.dumps(content).encode()


def test_probabilities_are_shown_as_bars_the_likeliest_first() -> None:
    read = parse_prediction(answer({"predictions": [[0.1, 0.7, 0.2]]}))
    (value,) = read.rows[0]
    assert [(bar.label, round(bar.percent, 6)) for bar in value.bars] == [
        ("1", 70),
        ("2", 20),
        ("0", 10),
    ]


@pytest.mark.parametrize(
    "value", [[0.5, 0.6], [-0.5, 1.5], [1.0], ["a", "b"], [True, False], 0.5, [], [0.2, None]]
)
def test_other_values_are_shown_as_they_are(value: Any) -> None:
    (shown,) = parse_prediction(answer({"predictions": [value]})).rows[0]
    assert shown.bars == ()
    assert json.loads(shown.text) == value


def test_outputs_are_named_and_a_column_is_one_row() -> None:
    read = parse_prediction(answer({"predictions": [{"label": "cat", "scores": [0.1, 0.9]}]}))
    assert [(value.name, value.text, len(value.bars)) for value in read.rows[0]] == [
        ("label", "cat", 0),
        ("scores", "", 2),
    ]
    assert len(parse_prediction(answer({"outputs": {"a": [1, 2], "b": 3}})).rows) == 1


def test_many_rows_are_cut_and_counted() -> None:
    read = parse_prediction(answer({"predictions": [1.5] * (MAX_ROWS + 3)}))
    assert (len(read.rows), read.omitted) == (MAX_ROWS, 3)


@pytest.mark.parametrize(
    ("body", "raw"),
    [
        (b"not JSON", "not JSON"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"error": "no"}', '{\n  "error": "no"\n}'),
        (b"[1]", "[\n  1\n]"),
        (b'{"predictions": []}', '{\n  "predictions": []\n}'),
    ],
)
def test_what_is_no_prediction_is_shown_raw(body: bytes, raw: str) -> None:
    read = parse_prediction(body)
    assert (read.raw, read.rows) == (raw, ())


def test_a_deep_or_endless_answer_is_no_trouble() -> None:
    assert parse_prediction(b"[" * 100_000).rows == ()
    long = parse_prediction(answer({"predictions": [list(range(200_000))]}))
    assert "more characters" in long.raw
    assert len(long.rows[0][0].text) < 200
