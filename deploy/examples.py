"""A first request to a service, made up from its model's signature."""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.models import ModelVersion

DEFAULT_SIGNATURE = "serving_default"
MOST_WRITTEN_OUT = 2048
KEY = "YOUR_KEY"
# Inputs of this kind take serialized tf.Example records; this one is empty.
EMPTY_EXAMPLE = {"b64": ""}


@dataclass(frozen=True)
class Example:
    """A request's body, and what to know before it is sent; no body is too large to be shown."""

    signature: str
    body: dict[str, Any] | None
    note: str = ""

    @property
    def text(self) -> str:
        return "" if self.body is None else as_text(self.body)


def example_for(version: ModelVersion) -> Example:
    """Make a body for the default signature, or for the first one where there is none."""
    names = list(version.signatures)
    name = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in names else names[0]
    inputs: Mapping[str, Any] = version.signatures[name]["inputs"]
    start = {} if name == DEFAULT_SIGNATURE else {"signature_name": name}
    if sum(_size(tensor) for tensor in inputs.values()) > MOST_WRITTEN_OUT:
        return Example(name, None, "Its inputs are too large to be written out here.")
    by_row = bool(inputs) and all(_has_rows(tensor) for tensor in inputs.values())
    values = {key: _value(key, tensor, skip=int(by_row)) for key, tensor in inputs.items()}
    content: Any = next(iter(values.values())) if len(values) == 1 else values
    body = start | ({"instances": [content]} if by_row else {"inputs": content})
    takes_examples = any(_takes_examples(key, tensor) for key, tensor in inputs.items())
    note = (
        "The model takes serialized tf.Example records in base64. The one here is empty: put in"
        " one with the features that the model was trained on."
        if takes_examples
        else ""
    )
    return Example(name, body, note)


def as_text(body: Mapping[str, Any]) -> str:
    """Write a body with each instance on a line of its own."""
    parts = []
    for name, value in body.items():
        if name == "instances":
            rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
            parts.append(f'  "instances": [\n{rows}\n  ]')
        else:
            parts.append(f"  {json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}"


def curl_for(address: str, example: Example) -> str:
    data = "@request.json" if example.body is None else json.dumps(example.body)
    return "\n".join(
        [
            f"curl {shlex.quote(address)} \\",
            f"  -H 'Authorization: Bearer {KEY}' \\",
            "  -H 'Content-Type: application/json' \\",
            f"  -d {shlex.quote(data)}",
        ]
    )


def python_for(address: str, example: Example, version: ModelVersion) -> str:
    """Give a program without other packages, but for inputs too large to be written out."""
    lines = ["import json", "import urllib.request", ""]
    if example.body is None:
        lines[1:1] = ["import numpy"]
        inputs = version.signatures[example.signature]["inputs"]
        values = ", ".join(f"{json.dumps(key)}: {_zeros(inputs[key])}" for key in inputs)
        name = json.dumps(example.signature)
        lines += [f'body = {{"signature_name": {name}, "inputs": {{{values}}}}}']
    else:
        lines += [f"body = {example.body!r}"]
    return "\n".join(
        [
            *lines,
            "request = urllib.request.Request(",
            f"    {json.dumps(address)},",
            "    data=json.dumps(body).encode(),",
            f'    headers={{"Authorization": "Bearer {KEY}"}},',
            ")",
            "with urllib.request.urlopen(request) as answer:",
            "    print(json.load(answer))",
        ]
    )


def _has_rows(tensor: Mapping[str, Any]) -> bool:
    return tensor["shape"] is None or bool(tensor["shape"] and tensor["shape"][0] < 0)


def _lengths(tensor: Mapping[str, Any]) -> list[int]:
    """Give the length of each dimension, one for those that are left open."""
    shape = [-1] if tensor["shape"] is None else tensor["shape"]
    return [1 if length < 0 else length for length in shape]


def _size(tensor: Mapping[str, Any]) -> int:
    return math.prod(_lengths(tensor))


def _takes_examples(name: str, tensor: Mapping[str, Any]) -> bool:
    is_vector = len(_lengths(tensor)) == 1
    return tensor["dtype"] == "string" and is_vector and name in ("examples", "inputs", "input")


def _value(name: str, tensor: Mapping[str, Any], *, skip: int) -> Any:
    value = EMPTY_EXAMPLE if _takes_examples(name, tensor) else _scalar(tensor["dtype"])
    for length in reversed(_lengths(tensor)[skip:]):
        value = [value] * length
    return value


def _scalar(dtype: str) -> Any:
    if dtype == "string":
        return "text"
    if dtype == "bool":
        return False
    return 0 if "int" in dtype else 0.0


def _zeros(tensor: Mapping[str, Any]) -> str:
    dtype = "object" if tensor["dtype"] == "string" else tensor["dtype"]
    return f'numpy.zeros({tuple(_lengths(tensor))}, "{dtype}").tolist()'
