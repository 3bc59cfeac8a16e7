"""The bodies of classify and regress requests, and of the answers to them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from ..errors import invalid
from ..examples import Classes, check_context
from ..tensors.arrays import decode_base64, is_base64
from ..tensors.json_text import kind, quote
from .predict_response import decimals

# Whole numbers beyond 64 bits, and below this range, are read as decimal ones.
LARGEST_INT64 = 2**63 - 1


def read_examples(members: dict[str, Any]) -> list[bytes]:
    """Return a body's examples as serialized tf.Examples, each with the context's features."""
    context = _serialized(members["context"]) if "context" in members else b""
    if "examples" not in members:
        raise invalid(
            f"JSON Value: {quote(members)} When method is classify, key 'examples' is expected"
            " and was not found"
        )
    examples = members["examples"]
    if not isinstance(examples, list):
        raise invalid(
            f"JSON Value: {quote(members)} Expecting 'examples' value to be an list/array"
        )
    if not examples:
        raise invalid(f"JSON Value: {quote(members)} 'examples' value is an empty array")
    check_context(context, len(examples))
    # Concatenated messages are merged as they are parsed.
    return [context + _serialized(example) for example in examples]


def write_classifications(results: Sequence[Classes]) -> bytes:
    """Write lists of labels and scores."""
    scores = iter(_texts([score for classes in results for _, score in classes]))
    rows = (
        ", ".join(f"[{orjson.dumps(label).decode()}, {next(scores)}]" for label, _ in classes)
        for classes in results
    )
    return f'{{"results": [{", ".join(f"[{row}]" for row in rows)}]}}'.encode()


def write_regressions(results: Sequence[float]) -> bytes:
    """Write one value for each example."""
    return f'{{"results": [{", ".join(_texts(results))}]}}'.encode()


def _texts(values: Sequence[float]) -> list[str]:
    return decimals(np.array(values, dtype=np.float32))


def _serialized(example: Any) -> bytes:
    from tensorflow.core.example import example_pb2

    if not isinstance(example, dict):
        raise invalid(f"Example must be JSON object but got JSON {kind(example)}")
    made = example_pb2.Example()
    features = made.features.feature
    for key, content in example.items():
        name = key.encode("utf-8", "replace").decode()
        elements = content if isinstance(content, list) else [content]
        _fill(features[name], name, elements)
    data: bytes = made.SerializeToString()
    return data


def _fill(feature: Any, name: str, elements: list[Any]) -> None:
    """Put elements of one kind into a feature; the first one decides the kind."""
    chosen = ""
    values: list[Any] = []
    for element in elements:
        element_kind, value = _element(name, element)
        if chosen not in ("", element_kind):
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {chosen}")
        if element_kind == "int64" and value > LARGEST_INT64:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        chosen = element_kind
        values.append(value)
    if chosen:
        getattr(feature, f"{chosen}_list").value.extend(values)


def _element(name: str, element: Any) -> tuple[str, Any]:
    if isinstance(element, bool):
        return "int64", int(element)
    if isinstance(element, int):
        return "int64", element
    if isinstance(element, float):
        return "float", element
    if isinstance(element, str):
        return "bytes", element.encode("utf-8", "surrogateescape")
    if is_base64(element):
        return "bytes", decode_base64(element)
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {kind(element)}")
