"""The quick way to read and write JSON gives what the exact way gives, or steps aside."""

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("orjson", reason="the model server's requirements are not installed here")
np = pytest.importorskip("numpy", reason="numpy is not installed here")

from deploy.modelserver.errors import ServingError  # noqa: E402
from deploy.modelserver.http.predict_request import (  # noqa: E402
    RequestBody,
    RequestFormat,
    read_document,
    read_inputs,
)
from deploy.modelserver.http.predict_response import write_results  # noqa: E402
from deploy.modelserver.tensors import json_text  # noqa: E402
from tests.property_tests import EXAMPLES  # noqa: E402

numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-300, 300),
    st.floats(allow_nan=True, allow_infinity=True),
)
scalars = st.one_of(numbers, st.booleans(), st.none(), st.text(max_size=4))
values = st.recursive(
    st.one_of(numbers, scalars),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "b64", "x:y"]), inner, max_size=2),
    ),
    max_leaves=12,
)
grids = st.integers(0, 3).flatmap(
    lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), max_size=4)
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "instances": st.one_of(grids, st.lists(values, max_size=4), values),
        "inputs": st.one_of(grids, values, st.fixed_dictionaries({"a": grids, "b": values})),
        "signature_name": scalars,
        "other": values,
    },
)
signatures = st.sampled_from(
    [
        {"a": "float"},
        {"a": "double"},
        {"a": "int32"},
        {"a": "uint64"},
        {"a": "bool"},
        {"a": "string"},
        {"a": "float", "b": "int64"},
    ]
)


def outcome(document: RequestBody, inputs: dict[str, str]) -> Any:
    try:
        form, tensors = read_inputs(document, inputs)
    except ServingError as error:
        return error.code, error.message
    return form, {
        name: (array.dtype.str, array.shape, repr(array.tolist()))
        for name, array in tensors.items()
    }


@pytest.fixture(autouse=True, scope="module")
def overflow_is_fine() -> Any:
    with np.errstate(all="ignore"):
        yield


@settings(max_examples=3 * EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents, signatures)
@pytest.mark.slow
def test_both_ways_of_reading_a_request_agree(
    document: dict[str, Any], inputs: dict[str, str]
) -> None:
    body = json.dumps(document).encode()

    assert outcome(read_document(body), inputs) == outcome(
        RequestBody(json_text.parse(body), numbers_only=False), inputs
    )


@given(values)
def test_the_exact_parser_reads_what_python_reads(value: Any) -> None:
    text = json.dumps(value)

    assert repr(json_text.parse(text.encode())) == repr(as_64_bits(json.loads(text)))


def as_64_bits(value: Any) -> Any:
    if isinstance(value, list):
        return [as_64_bits(item) for item in value]
    if isinstance(value, dict):
        return {key: as_64_bits(item) for key, item in value.items()}
    if type(value) is int and not -(2**63) <= value < 2**64:
        return float(value)
    return value


@given(st.text(alphabet='[]{}",:.eE+-01 \\ntrufalsN\n\x00é', max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        shown = json_text.quote(json_text.parse(text.encode()))
    except ServingError as error:
        shown = error.message.removeprefix("JSON Parse error: ")

    assert shown


@given(st.lists(st.floats(width=32), max_size=20))
def test_floats_come_back_from_text_bit_by_bit(sent: list[float]) -> None:
    array = np.array(sent, dtype=np.float32)

    body = write_results({"y": array}, RequestFormat.COLUMN)

    back = np.array(json.loads(body)["outputs"], dtype=np.float32)
    assert back.tobytes() == array.tobytes() or all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(back, array, strict=True)
    )


@given(st.lists(st.floats(), max_size=20))
def test_doubles_come_back_from_text_bit_by_bit(sent: list[float]) -> None:
    back = json.loads(write_results({"y": np.array(sent, dtype=np.float64)}, RequestFormat.COLUMN))

    assert repr(back["outputs"]) == repr(sent)


def test_a_huge_value_is_quoted_in_part() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    for value in (deep, ["x" * 10**6] * 10, {"k": [1] * 10**6}):
        assert len(json_text.quote(value)) <= json_text.QUOTED_LENGTH + 3
    assert json_text.quote({"a": [1, None, "ü"], "b": {}}) == '{"a": [1, null, "ü"], "b": {}}'


@pytest.mark.parametrize(
    "shape", [(0,), (0, 3), (2, 0), (2, 3), (1, 1, 1), (2, 3, 4), (2, 0, 3)], ids=str
)
def test_every_shape_is_written_as_numpy_would(shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)

    for form, key in ((RequestFormat.ROW, "predictions"), (RequestFormat.COLUMN, "outputs")):
        assert json.loads(write_results({"y": array}, form))[key] == array.tolist()
