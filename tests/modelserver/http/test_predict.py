"""What predict requests mean and how they are answered, over HTTP, by a real model."""

import base64
import gzip
import json
import struct
from math import inf, nan
from typing import Any

import pytest

from ..serving import ModelServer

pytestmark = pytest.mark.tensorflow

PREDICT = "/v1/models/zoo:predict"


def rows(signature: str, instances: object) -> dict[str, object]:
    return {"signature_name": signature, "instances": instances}


def columns(signature: str, inputs: object) -> dict[str, object]:
    return {"signature_name": signature, "inputs": inputs}


def test_rows_are_answered_with_predictions_and_columns_with_outputs(zoo: ModelServer) -> None:
    row = zoo.post(PREDICT, {"instances": [[1.0, 2.5], [3, 4]]})
    column = zoo.post(PREDICT, {"inputs": [[1.0, 2.5], [3, 4]]})

    assert (row.status, row.json) == (200, {"predictions": [[2.0, 5.0], [6.0, 8.0]]})
    assert (column.status, column.json) == (200, {"outputs": [[2.0, 5.0], [6.0, 8.0]]})
    assert row.headers["Content-Type"] == "application/json"


def test_one_input_may_be_named_or_not(zoo: ModelServer) -> None:
    expected = {"predictions": [[2.0, 4.0]]}

    assert zoo.post(PREDICT, {"instances": [{"x": [1, 2]}]}).json == expected
    assert zoo.post(PREDICT, {"inputs": {"x": [[1, 2]]}}).json == {"outputs": [[2.0, 4.0]]}


def test_an_empty_signature_name_means_the_default_one(zoo: ModelServer) -> None:
    assert zoo.post(PREDICT, rows("", [[1, 2]])).json == {"predictions": [[2.0, 4.0]]}


def test_several_inputs_and_outputs_travel_by_name(zoo: ModelServer) -> None:
    named = [{"a": 1.5, "b": 2}, {"b": 4, "a": 3.5}]

    assert zoo.post(PREDICT, rows("two", named)).json == {
        "predictions": [{"negative": -2, "sum": 3.5}, {"negative": -4, "sum": 7.5}]
    }
    assert zoo.post(PREDICT, columns("two", {"a": 1, "b": [1, 2], "other": "ignored"})).json == {
        "outputs": {"negative": [-1, -2], "sum": [2.0, 3.0]}
    }


def test_scalars_and_empty_lists_are_legal_in_column_form(zoo: ModelServer) -> None:
    assert zoo.post(PREDICT, columns("total", 5)).json == {"outputs": 5.0}
    assert zoo.post(PREDICT, columns("echo_float", [])).json == {"outputs": []}
    assert zoo.post(PREDICT, columns("echo_int32", [])).json == {"outputs": []}
    assert zoo.post(PREDICT, rows("echo_float", [[], []])).json == {"predictions": [[], []]}


def test_unknown_keys_are_ignored_however_deep_they_are(zoo: ModelServer) -> None:
    deep = "[" * 500_000 + "]" * 500_000

    answer = zoo.post(PREDICT, f'{{"other": {deep}, "instances": [[1, 2]]}}')

    assert (answer.status, answer.json) == (200, {"predictions": [[2.0, 4.0]]})


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_tensors_nested_half_a_million_levels_deep_are_refused(zoo: ModelServer, key: str) -> None:
    for opened, closed in (("[", "]"), ('{"x":', "}")):
        answer = zoo.post(PREDICT, f'{{"{key}": {opened * 500_000}1{closed * 500_000}}}')

        assert answer.status == 400
        assert "levels deep" in answer.error
    assert zoo.get("/healthz").status == 200


def test_the_first_of_two_equal_keys_wins(zoo: ModelServer) -> None:
    answer = zoo.post(PREDICT, '{"instances": [[1, 2]], "instances": [[3, 4]]}')

    assert answer.json == {"predictions": [[2.0, 4.0]]}


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int8", [-128, 127]),
        ("int16", [-32768, 32767]),
        ("int32", [-(2**31), 2**31 - 1]),
        ("uint8", [0, 255]),
        ("int64", [-(2**63), 2**53 + 1, 2**63 - 1]),
        ("uint32", [0, 2**32 - 1]),
        ("uint64", [0, 2**64 - 1]),
        ("uint64", [7]),
        ("bool", [True, False]),
        ("float", [0, 1.5, -3]),
        ("double", [0.1, 1e300, 2**53]),
        ("string", ["a", "ü", 'q"\\\n', ""]),
    ],
)
def test_values_come_back_as_they_were_sent(
    zoo: ModelServer, dtype: str, values: list[Any]
) -> None:
    assert zoo.post(PREDICT, rows(f"echo_{dtype}", values)).json == {"predictions": values}
    assert zoo.post(PREDICT, columns(f"echo_{dtype}", [values])).json == {"outputs": [values]}


@pytest.mark.parametrize(
    ("dtype", "value", "named"),
    [
        ("int32", "1.0", "Number"),
        ("int32", "2147483648", "Number"),
        ("int32", "true", "True"),
        ("int64", "1e3", "Number"),
        ("int64", "9223372036854775808", "Number"),
        ("uint32", "-1", "Number"),
        ("uint64", "-1", "Number"),
        ("uint64", "18446744073709551616", "Number"),
        ("bool", "1", "Number"),
        ("bool", '"true"', "String"),
        ("float", "true", "True"),
        ("float", "false", "False"),
        ("float", "null", "Null"),
        ("float", '"1.0"', "String"),
        ("float", '{"b64": "AAAA"}', "Object"),
        ("double", "[null]", "Null"),
        ("string", "1", "Number"),
        ("string", "null", "Null"),
    ],
)
def test_nothing_is_converted_but_numbers_to_decimals(
    zoo: ModelServer, dtype: str, value: str, named: str
) -> None:
    for key in ("instances", "inputs"):
        body = f'{{"signature_name": "echo_{dtype}", "{key}": [{value}]}}'
        answer = zoo.post(PREDICT, body)

        assert answer.status == 400
        assert f"Type: {named} is not of expected type: {dtype}" in answer.error


def test_numbers_that_are_not_finite_come_and_go_unquoted(zoo: ModelServer) -> None:
    values = "NaN, Infinity, -Infinity, 1e39, -1e39, 1e-50"
    body = f'{{"signature_name": "echo_float", "inputs": [{values}]}}'

    answer = zoo.post(PREDICT, body)

    assert answer.body == b'{"outputs": [NaN, Infinity, -Infinity, Infinity, -Infinity, 0.0]}'


def test_floats_are_written_with_six_digits_where_those_suffice(zoo: ModelServer) -> None:
    sent = "9000000, 999999, 0.5, .3e-3, 3e-5, 555557.5, 0.333333333333, 0.2, -0.0, 123456789"
    sent = sent.replace(" .3", " 0.3")

    single = zoo.post(PREDICT, f'{{"signature_name": "echo_float", "inputs": [{sent}]}}')
    double = zoo.post(PREDICT, f'{{"signature_name": "echo_double", "inputs": [{sent}]}}')

    assert single.body == (
        b'{"outputs": [9e+06, 999999.0, 0.5, 0.0003, 3e-05, 555557.5, 0.333333343, 0.2, -0.0,'
        b" 123456792.0]}"
    )
    assert double.body == (
        b'{"outputs": [9e+06, 999999.0, 0.5, 0.0003, 3e-05, 555557.5, 0.33333333333300003, 0.2,'
        b" -0.0, 123456789.0]}"
    )


def test_base64_objects_stand_for_bytes_anywhere_in_a_string_tensor(zoo: ModelServer) -> None:
    data = base64.b64encode(b"\xff\x00abc").decode()

    answer = zoo.post(PREDICT, rows("strings", [{"b64": data}, "plain"]))
    nested = zoo.post(PREDICT, columns("strings", {"s": [[{"b64": data}]]}))
    bare = zoo.post(PREDICT, columns("strings", {"b64": data}))

    assert [row["raw_bytes"] for row in answer.json["predictions"]] == [
        {"b64": data},
        {"b64": base64.b64encode(b"plain").decode()},
    ]
    assert answer.json["predictions"][1]["text"] == "PLAIN"
    assert nested.json["outputs"]["raw_bytes"] == [[{"b64": data}]]
    assert bare.json["outputs"]["raw_bytes"] == {"b64": data}


def test_base64_may_lack_padding_or_hold_spaces(zoo: ModelServer) -> None:
    for text in ("aGk=", "aGk", " aG k=\n"):
        answer = zoo.post(PREDICT, rows("strings", [{"b64": text}]))

        assert answer.json["predictions"][0]["text"] == "HI"


def test_serialized_examples_are_scored(zoo: ModelServer) -> None:
    example = tf_example("age", 4.2)
    sent = {"b64": base64.b64encode(example).decode()}

    answer = zoo.post(PREDICT, rows("examples", [sent, sent]))

    assert answer.json == {"predictions": [[42.0], [42.0]]}


def test_the_signature_does_not_limit_shapes_only_the_graph_does(zoo: ModelServer) -> None:
    free = zoo.post(PREDICT, {"instances": [1.0, 2.0, 5.0]})
    bound = zoo.post(PREDICT, rows("strict", [1.0, 2.0, 5.0]))

    assert (free.status, free.json) == (200, {"predictions": [2.0, 4.0, 10.0]})
    assert bound.status == 400
    assert "MatMul" in bound.error


def test_gzip_bodies_are_inflated(zoo: ModelServer) -> None:
    body = gzip.compress(json.dumps({"instances": [[1, 2]]}).encode())

    answer = zoo.post(PREDICT, body, Content_Encoding="gzip")
    broken = zoo.post(PREDICT, body[:-9], Content_Encoding="gzip")

    assert answer.json == {"predictions": [[2.0, 4.0]]}
    assert broken.status == 400
    assert "gzip" in broken.error


def test_a_gzip_bomb_is_refused(zoo: ModelServer) -> None:
    bomb = gzip.compress(b" " * (65 * 2**20))

    answer = zoo.post(PREDICT, bomb, Content_Encoding="gzip")

    assert answer.status == 413
    assert "64 MiB" in answer.error


def test_the_content_type_is_not_read(zoo: ModelServer) -> None:
    answer = zoo.post(
        PREDICT, '{"instances": [[1, 2]]}', Content_Type="application/x-www-form-urlencoded"
    )

    assert answer.json == {"predictions": [[2.0, 4.0]]}


def test_large_batches_are_scored_like_small_ones(zoo: ModelServer) -> None:
    answer = zoo.post(PREDICT, {"instances": [[index, 0.5] for index in range(20_000)]})

    assert answer.json["predictions"][-1] == [39998.0, 1.0]


def test_bytes_that_are_not_utf8_reach_a_string_tensor(zoo: ModelServer) -> None:
    body = b'{"signature_name": "strings", "instances": ["\xff\xfe"]}'

    answer = zoo.post(PREDICT, body)

    assert answer.json["predictions"][0]["raw_bytes"] == {"b64": "//4="}


def test_json_written_by_python_for_special_numbers_is_understood(zoo: ModelServer) -> None:
    answer = zoo.post(PREDICT, columns("echo_double", [nan, inf, -inf, 1.5]))

    assert answer.body == b'{"outputs": [NaN, Infinity, -Infinity, 1.5]}'


def tf_example(name: str, value: float) -> bytes:
    """Serialize a tf.Example with one float feature, by hand."""
    floats = field(1, struct.pack("<f", value))
    entry = field(1, name.encode()) + field(2, field(2, floats))
    return field(1, field(1, entry))


def field(number: int, payload: bytes) -> bytes:
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload
