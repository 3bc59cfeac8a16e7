"""Turn the body of a predict request into the tensors that a signature asks for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from ..errors import ServingError, invalid
from ..tensors.arrays import (
    Array,
    array_of,
    collect,
    dense_shape,
    is_base64,
    numeric_array,
)
from ..tensors.json_text import finite_number, parse, quote, whole_number


class RequestFormat(Enum):
    """How a request lays out its values; the answer follows it."""

    ROW = "instances"
    COLUMN = "inputs"


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A parsed body, and whether it holds nothing but numbers beside its keys."""

    members: dict[str, Any]
    numbers_only: bool

    @property
    def signature_name(self) -> str:
        name = self.members.get("signature_name", "")
        if not isinstance(name, str):
            raise invalid(
                f"JSON Value: {quote(self.members)} not formatted correctly."
                " 'signature_name' key must be a string value."
            )
        return name


def read_document(body: bytes) -> RequestBody:
    """Parse a body: quickly where its text shows that nothing can be lost, else exactly."""
    members = _parse_fast(body)
    if members is not None:
        keys = _count_keys(members)
        # Each key has one colon; more means equal keys, deeper objects or colons in strings.
        if body.count(b":") == keys:
            strings = keys + isinstance(members.get("signature_name"), str)
            numbers_only = body.count(b'"') == 2 * strings and not (
                b"true" in body or b"false" in body or b"null" in body
            )
            return RequestBody(members, numbers_only)
    exact = parse(body)
    if not isinstance(exact, dict):
        raise invalid(f"JSON Value: {quote(exact)} Is not object")
    return RequestBody(exact, numbers_only=False)


def read_inputs(
    document: RequestBody, inputs: Mapping[str, str]
) -> tuple[RequestFormat, dict[str, Array]]:
    """Return the tensors named by a signature's inputs (name to type)."""
    members = document.members
    if "instances" in members:
        if "inputs" in members:
            raise invalid(
                f"JSON Value: {quote(members)} Not formatted correctly expecting only"
                " one of 'inputs' or 'instances' keys to exist "
            )
        return RequestFormat.ROW, _from_rows(document, members["instances"], inputs)
    if "inputs" in members:
        return RequestFormat.COLUMN, _from_columns(document, members["inputs"], inputs)
    raise invalid("Missing 'inputs' or 'instances' key")


def _parse_fast(body: bytes) -> dict[str, Any] | None:
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"NaN" not in body and b"Infinity" not in body:
            return None
        try:
            members = json.loads(
                body.decode("utf-8"), parse_int=whole_number, parse_float=finite_number
            )
        except (ValueError, OverflowError, RecursionError):
            return None
    return members if isinstance(members, dict) else None


def _count_keys(members: dict[str, Any]) -> int:
    keys = len(members)
    for name in ("instances", "examples"):
        rows = members.get(name)
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            keys += sum(len(row) for row in rows if isinstance(row, dict))
    for name in ("inputs", "context"):
        named = members.get(name)
        if isinstance(named, dict):
            keys += len(named)
    return keys


def _from_rows(document: RequestBody, rows: Any, inputs: Mapping[str, str]) -> dict[str, Array]:
    if not isinstance(rows, list):
        raise invalid(
            f"JSON Value: {quote(document.members)} Expecting 'instances' to be an list/array"
        )
    if not rows:
        raise invalid(f"JSON Value: {quote(document.members)} No values in 'instances' array")
    if document.numbers_only:
        tensors = _rows_of_numbers(rows, inputs)
        if tensors is not None:
            return tensors
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors"
            " required as per tensorinfo_map"
        )
    return _Rows(inputs).read(rows)


def _rows_of_numbers(rows: list[Any], inputs: Mapping[str, str]) -> dict[str, Array] | None:
    if not isinstance(rows[0], dict):
        if len(inputs) != 1:
            return None
        columns = dict.fromkeys(inputs, rows)
    else:
        try:
            if any(len(row) != len(inputs) for row in rows):
                return None
            columns = {name: [row[name] for row in rows] for name in inputs}
        except (KeyError, TypeError, IndexError):
            return None
    return _columns_of_numbers(columns, inputs)


def _columns_of_numbers(
    columns: Mapping[str, Any], inputs: Mapping[str, str]
) -> dict[str, Array] | None:
    tensors: dict[str, Array] = {}
    for name, dtype in inputs.items():
        array = numeric_array(columns[name], dtype)
        if array is None:
            return None
        tensors[name] = array
    return tensors


class _Rows:
    """Gathers rows element by element, with TensorFlow Serving's checks in its order."""

    def __init__(self, inputs: Mapping[str, str]) -> None:
        self._inputs = inputs
        self._elements: dict[str, list[Any]] = {name: [] for name in inputs}
        self._first: dict[str, tuple[int, tuple[int, ...]]] = {}

    def read(self, rows: list[Any]) -> dict[str, Array]:
        if _is_named(rows[0]):
            for index, row in enumerate(rows):
                if not _is_named(row):
                    raise invalid(f"Expecting object but got list at item {index} of input list")
                self._add_named(row, index)
        else:
            name = next(iter(self._inputs))
            for index, row in enumerate(rows):
                if _is_named(row):
                    raise invalid(
                        f"Expecting value/list but got object at item {index} of input list"
                    )
                self._add(name, row, f"Failed to process element: {index}")
        missing = self._inputs.keys() - self._first.keys()
        if missing:
            raise invalid(
                f"input size does not match signature: {len(self._first)}!={len(self._inputs)}"
                f" Missing but required: {{{','.join(sorted(missing))}}}."
            )
        return {
            name: array_of(self._elements[name], (len(rows), *shape), self._inputs[name])
            for name, (_, shape) in self._first.items()
        }

    def _add_named(self, row: dict[str, Any], index: int) -> None:
        where = f"Failed to process element: {index}"
        for name, value in row.items():
            self._add(name, value, f"{where} key: {name}")
        if row.keys() != self._inputs.keys():
            raise invalid(
                f"{where} of 'instances' list. JSON object: {quote(row)}"
                f" keys must be equal to: {','.join(sorted(self._inputs))}"
            )

    def _add(self, name: str, value: Any, where: str) -> None:
        try:
            if name not in self._inputs:
                raise invalid(f"JSON object: does not have named input: {name}")
            shape = dense_shape(value)
            elements = self._elements[name]
            before = len(elements)
            collect(value, shape, self._inputs[name], elements)
            size = len(elements) - before
            first_size, first_shape = self._first.setdefault(name, (size, shape))
            if size != first_size:
                raise invalid(f"Expecting tensor size: {first_size} but got: {size}")
            if shape != first_shape:
                raise invalid(f"Expecting shape {_show(first_shape)} but got: {_show(shape)}")
        except ServingError as error:
            raise invalid(
                f"{where} of 'instances' list. Error: {error.code.name}: {error.message}"
            ) from None


def _from_columns(document: RequestBody, value: Any, inputs: Mapping[str, str]) -> dict[str, Array]:
    if _is_named(value):
        columns = value
        for name in inputs:
            if name not in columns:
                raise invalid(f"Missing named input: {name} in 'inputs' object.")
    elif len(inputs) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors"
            " required as per tensorinfo_map"
        )
    else:
        columns = dict.fromkeys(inputs, value)
    if document.numbers_only:
        tensors = _columns_of_numbers(columns, inputs)
        if tensors is not None:
            return tensors
    return {name: _column(columns[name], dtype) for name, dtype in inputs.items()}


def _column(value: Any, dtype: str) -> Array:
    shape = dense_shape(value)
    elements: list[Any] = []
    collect(value, shape, dtype, elements)
    return array_of(elements, shape, dtype)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _show(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
