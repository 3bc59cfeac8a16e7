"""Requests that can't be meant: each is refused with the sentence that TensorFlow Serving uses."""

import pytest

from ..serving import ModelServer

pytestmark = pytest.mark.tensorflow

PREDICT = "/v1/models/zoo:predict"

WRONG = [
    ("an empty body", "", "JSON Parse error: The document is empty"),
    ("spaces", "  \n", "JSON Parse error: The document is empty"),
    ("bad JSON", '{"instances": [1, }', "JSON Parse error: Invalid value. at offset: 18"),
    ("an unclosed list", '{"instances": [1', "JSON Parse error: Missing a comma or ]"),
    ("an unclosed object", '{"instances": [1]', "JSON Parse error: Missing a comma or }"),
    ("text after the end", '{"instances": [[1, 2]]} x', "must not be followed by other values"),
    ("a list", "[1, 2]", "Is not object"),
    ("a number too large", '{"instances": [1e400]}', "Number too big to be stored in double"),
    ("a lone surrogate", '{"instances": ["\\ud800"]}', "surrogate pair in string is invalid"),
    ("neither key", "{}", "Missing 'inputs' or 'instances' key"),
    ("both keys", '{"instances": [1], "inputs": [1]}', "Not formatted correctly"),
    ("instances no list", '{"instances": 5}', "Expecting 'instances' to be an list/array"),
    ("instances empty", '{"instances": []}', "No values in 'instances' array"),
    ("rows of other size", '{"instances": [[1, 2], [3]]}', "Expecting tensor size: 2 but got: 1"),
    (
        "rows of other shape",
        '{"instances": [[1, 2], [[3, 4]]]}',
        "Expecting shape [2] but got: [1,2]",
    ),
    (
        "a ragged value",
        '{"instances": [[[1, 2], [3]]]}',
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    (
        "a list too deep inside",
        '{"instances": [[1, [2]]]}',
        "Encountered list at unexpected level: 1 expected < 1",
    ),
    ("a value too high up", '{"instances": [[[1], 2]]}', "2 found at incorrect level: 2"),
    ("a null", '{"instances": [[1, null]]}', "JSON Value: null Type: Null is not of expected"),
    ("a wrong name in a row", '{"instances": [{"z": 1}]}', "does not have named input: z"),
    (
        "a missing name in a row",
        '{"signature_name": "two", "instances": [{"a": 1}]}',
        "keys must be equal to: a,b",
    ),
    (
        "a plain list for two inputs",
        '{"signature_name": "two", "instances": [1, 2]}',
        "instances is a plain list",
    ),
    (
        "a plain value for two inputs",
        '{"signature_name": "two", "inputs": [1, 2]}',
        "inputs is a plain value/list",
    ),
    (
        "bytes for two inputs",
        '{"signature_name": "two", "instances": [{"b64": "AAAA"}]}',
        "Failed to process element: 0",
    ),
    (
        "objects, then a value",
        '{"instances": [{"x": [1, 2]}, [1, 2]]}',
        "Expecting object but got list at item 1",
    ),
    (
        "values, then an object",
        '{"instances": [[1, 2], {"x": [1, 2]}]}',
        "Expecting value/list but got object at item 1",
    ),
    (
        "a missing name in inputs",
        '{"signature_name": "two", "inputs": {"a": 1}}',
        "Missing named input: b in 'inputs' object.",
    ),
    (
        "bad base64",
        '{"signature_name": "strings", "instances": [{"b64": "?"}]}',
        "Unable to base64 decode",
    ),
    (
        "a malformed bytes object",
        '{"signature_name": "strings", "instances": [[{"b64": "AA", "x": 1}]]}',
        "not formatted correctly for base64 data",
    ),
    (
        "a signature name that is no string",
        '{"signature_name": 5, "instances": [1]}',
        "'signature_name' key must be a string value.",
    ),
    (
        "an unknown signature",
        '{"signature_name": "x", "instances": [1]}',
        'Serving signature name: "x" not found in signature def',
    ),
    (
        "a signature without inputs",
        '{"signature_name": "nothing", "instances": [1]}',
        "Failed to get input map for signature: nothing",
    ),
    (
        "a scalar result for rows",
        '{"signature_name": "total", "instances": [1, 2]}',
        "Tensor name: total has no shape information",
    ),
    (
        "results of several batch sizes for rows",
        '{"signature_name": "uneven", "instances": [1, 2]}',
        "has inconsistent batch size",
    ),
    (
        "a half result",
        '{"signature_name": "to_half", "instances": [1, 2]}',
        "Failed to write JSON value for tensor type: half",
    ),
    (
        "rows for a half input",
        '{"signature_name": "echo_half", "instances": [1]}',
        "Error: UNIMPLEMENTED: Conversion of JSON Value: 1 to type: half",
    ),
]


@pytest.mark.parametrize(
    ("body", "message"), [wrong[1:] for wrong in WRONG], ids=[w[0] for w in WRONG]
)
def test_a_wrong_request_is_a_400_that_says_why(zoo: ModelServer, body: str, message: str) -> None:
    answer = zoo.post(PREDICT, body)

    assert answer.status == 400
    assert message in answer.error


@pytest.mark.parametrize("dtype", ["half", "uint16"])
def test_columns_for_an_unsupported_type_are_a_501(zoo: ModelServer, dtype: str) -> None:
    answer = zoo.post(PREDICT, {"signature_name": f"echo_{dtype}", "inputs": [1]})

    assert answer.status == 501
    assert f"to type: {dtype}" in answer.error


def test_an_error_quotes_only_the_start_of_a_huge_value(zoo: ModelServer) -> None:
    answer = zoo.post(PREDICT, {"inputs": ["x" * 1_000_000]})

    assert answer.status == 400
    assert len(answer.body) < 2000
