"""A first request to a service, made up from its model's signature."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.contract.signatures import (
    DEFAULT_SIGNATURE,
    SignatureSpec,
    TensorSpec,
    default_signature,
)
from models.models import ModelVersion

MOST_WRITTEN_OUT = 2048
# Inputs of this kind take serialized tf.Example records; this one is empty.
EMPTY_EXAMPLE = {"b64": ""}
ABOUT_EXAMPLES = (
    "The model takes serialized tf.Example records in base64. The one here is empty: put in"
    " one with the features that the model was trained on."
)


@dataclass(frozen=True)
class Example:
    """A request's body, and what to know before it is sent.

    There is no body where it is too large to be shown, or where REST answers none.
    """

    signature: str
    body: dict[str, Any] | None
    note: str = ""

    @property
    def text(self) -> str:
        return "" if self.body is None else as_text(self.body)


def example_for(version: ModelVersion) -> Example:
    """Make a body for the default signature, or for the first one where there is none."""
    return example_of(default_signature(version))


def example_of(signature: SignatureSpec, *, most: int = MOST_WRITTEN_OUT) -> Example:
    """Make a body for a signature whose inputs have no more than so many values."""
    if signature.why_not_rest:
        return Example(signature.name, None, signature.why_not_rest)
    start = {} if signature.name == DEFAULT_SIGNATURE else {"signature_name": signature.name}
    if signature.size > most:
        return Example(signature.name, None, "Its inputs are too large to be written out here.")
    by_row = signature.uses_row_format
    values = {tensor.name: _value(tensor, skip=int(by_row)) for tensor in signature.inputs}
    content: Any = next(iter(values.values())) if len(values) == 1 else values
    body = start | ({"instances": [content]} if by_row else {"inputs": content})
    takes_examples = any(tensor.takes_examples for tensor in signature.inputs)
    return Example(signature.name, body, ABOUT_EXAMPLES if takes_examples else "")


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


def _value(tensor: TensorSpec, *, skip: int) -> Any:
    value = EMPTY_EXAMPLE if tensor.takes_examples else scalar_of(tensor.dtype)
    for length in reversed(tensor.lengths[skip:]):
        value = [value] * length
    return value


def scalar_of(dtype: str) -> Any:
    """Return a value of a type, as JSON writes it."""
    if dtype == "string":
        return "text"
    if dtype == "bool":
        return False
    return 0 if "int" in dtype else 0.0
