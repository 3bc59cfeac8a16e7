"""A service as an OpenAPI 3.1 document, its schemas made from its model's signatures."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.contract.examples import example_of
from deploy.contract.signatures import DEFAULT_SIGNATURE, INT_RANGES, SignatureSpec, TensorSpec
from deploy.models import AccessPolicy

Schema = dict[str, Any]
INVALID_COMPONENT_CHARACTERS = re.compile(r"[^a-zA-Z0-9._-]")  # for the name of a component

FLOAT_FORMATS = {"float32": "float", "float64": "double"}
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
BYTES: Schema = {
    "type": "object",
    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["b64"],
    "additionalProperties": False,
}
ERROR: Schema = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}
STATUS: Schema = {
    "type": "object",
    "properties": {
        "model_version_status": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "version": {"type": "string"},
                    "state": {
                        "enum": ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
                    },
                    "status": {
                        "type": "object",
                        "properties": {
                            "error_code": {"type": "string"},
                            "error_message": {"type": "string"},
                        },
                    },
                },
            },
        }
    },
}
FEATURE_EXAMPLES: Schema = {
    "type": "object",
    "description": "One tf.Example: a value or a list of values for each feature.",
    "additionalProperties": True,
}
ERRORS = {
    400: "The request does not fit the model; the error says where.",
    401: "The key or token is missing, unknown or replaced.",
    403: "The caller may not score with this service.",
    404: "There is no such service, model or version.",
    413: "The body is larger than the service accepts.",
    429: "Too many requests at once, or more than the key allows in a minute.",
    500: "The model failed.",
    502: "The replica's response could not be read.",
    503: "No replica is ready.",
    504: "The model did not respond in time.",
}


@dataclass(frozen=True)
class ServiceDescription:
    """What a document says of a service."""

    team: str
    name: str
    server: str
    model: str
    version: int
    framework_version: str
    access_policy: str
    signatures: list[SignatureSpec]


def document_of(service: ServiceDescription) -> Schema:
    """Write the document."""
    schemas: dict[str, Schema] = {"Error": ERROR, "Status": STATUS}
    for signature in service.signatures:
        schemas |= _schemas_of(signature)
    serve = f"/serve/{service.team}/{service.name}/v1/models/{service.model}"
    score = f"/api/v1/teams/{service.team}/services/{service.name}/score"
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": service.name,
            "version": str(service.version),
            "description": f"Scores with {service.model}:{service.version}, a model of TensorFlow"
            f" {service.framework_version}. The paths below /serve/ are TensorFlow Serving's own.",
        },
        "servers": [{"url": service.server}],
        "security": [] if service.access_policy == AccessPolicy.PUBLIC else [{"bearer": []}],
        "paths": {
            score: {"post": _predict(service.signatures, "score")},
            f"{serve}:predict": {"post": _predict(service.signatures, "predict")},
            **_example_paths(serve, service.signatures),
            serve: {"get": _read("status", "The state of the model's versions", "Status")},
            f"{serve}/metadata": {"get": _read("metadata", "The model's signatures", None)},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": _about_callers(service.access_policy),
                }
            },
        },
    }
    return document


def _about_callers(policy: str) -> str:
    if policy == AccessPolicy.TOKENS:
        return "An API token of a member of the team."
    if policy == AccessPolicy.TEAM:
        return "An API token of a member of the team; their browsers need none."
    return "The primary or secondary key of the service, or an API token of a member of the team."


def _predict(signatures: list[SignatureSpec], operation: str) -> Schema:
    example = example_of(signatures[0])
    content: Schema = {"schema": _any_of(f"{_key(one)}.Request" for one in signatures)}
    if example.body is not None:
        content["example"] = example.body
    answer = {"schema": _any_of(f"{_key(one)}.Answer" for one in signatures)}
    return {
        "operationId": operation,
        "summary": "Score instances",
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "200": {
                "description": "Predictions for a request with instances, outputs for one with"
                " inputs.",
                "content": {"application/json": answer},
            },
            **_errors(),
        },
    }


def _example_paths(serve: str, signatures: list[SignatureSpec]) -> dict[str, Schema]:
    methods = {signature.method for signature in signatures}
    paths = {}
    if CLASSIFY in methods:
        pair: Schema = {
            "type": "array",
            "prefixItems": [{"type": "string"}, {"type": "number"}],
            "minItems": 2,
            "maxItems": 2,
        }
        result: Schema = {"type": "array", "items": pair}
        paths[f"{serve}:classify"] = {"post": _with_examples("classify", result, signatures)}
    if REGRESS in methods:
        paths[f"{serve}:regress"] = {
            "post": _with_examples("regress", {"type": "number"}, signatures)
        }
    return paths


def _with_examples(operation: str, result: Schema, signatures: list[SignatureSpec]) -> Schema:
    request = {
        "type": "object",
        "properties": {
            "signature_name": {"enum": [one.name for one in signatures]},
            "context": FEATURE_EXAMPLES,
            "examples": {"type": "array", "minItems": 1, "items": FEATURE_EXAMPLES},
        },
        "required": ["examples"],
    }
    answer = {"type": "object", "properties": {"results": {"type": "array", "items": result}}}
    return {
        "operationId": operation,
        "summary": f"{operation.capitalize()} tf.Example records written as JSON",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {
                "description": "One result for each example.",
                "content": {"application/json": {"schema": answer}},
            },
            **_errors(),
        },
    }


def _read(operation: str, summary: str, schema: str | None) -> Schema:
    content = {"schema": _reference(schema) if schema else {"type": "object"}}
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": {"application/json": content}},
            **_errors(),
        },
    }


def _errors() -> dict[str, Schema]:
    content = {"application/json": {"schema": _reference("Error")}}
    return {str(code): {"description": text, "content": content} for code, text in ERRORS.items()}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _any_of(names: Iterable[str]) -> Schema:
    references = [_reference(name) for name in names]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _key(signature: SignatureSpec) -> str:
    """Name a signature as components may be named."""
    return INVALID_COMPONENT_CHARACTERS.sub(lambda found: f"_{ord(found[0]):x}_", signature.name)


def _schemas_of(signature: SignatureSpec) -> dict[str, Schema]:
    key = _key(signature)
    schemas = {f"{key}.Inputs": _object_of(signature.inputs, by_row=False)}
    forms = [_form(signature, "inputs", _content(key, "Inputs", signature.inputs))]
    if signature.uses_row_format:
        schemas[f"{key}.Instance"] = _object_of(signature.inputs, by_row=True)
        rows = {
            "type": "array",
            "minItems": 1,
            "items": _content(key, "Instance", signature.inputs, by_row=True),
        }
        forms.insert(0, _form(signature, "instances", rows))
    schemas[f"{key}.Request"] = {"oneOf": forms} if len(forms) > 1 else forms[0]
    schemas[f"{key}.Answer"] = _answer(signature)
    return schemas


def _form(signature: SignatureSpec, name: str, content: Schema) -> Schema:
    is_default = signature.name == DEFAULT_SIGNATURE
    return {
        "type": "object",
        "properties": {"signature_name": {"const": signature.name}, name: content},
        "required": [name] if is_default else ["signature_name", name],
        "not": {"required": ["inputs" if name == "instances" else "instances"]},
    }


def _content(
    key: str, part: str, inputs: tuple[TensorSpec, ...], *, by_row: bool = False
) -> Schema:
    """Describe the values by name or, where there is one input only, without it."""
    named = _reference(f"{key}.{part}")
    if len(inputs) != 1:
        return named
    return {"anyOf": [tensor_schema(inputs[0], by_row=by_row), named]}


def _object_of(tensors: tuple[TensorSpec, ...], *, by_row: bool) -> Schema:
    return {
        "type": "object",
        "properties": {one.name: tensor_schema(one, by_row=by_row) for one in tensors},
        "required": [one.name for one in tensors],
        **({"additionalProperties": False} if by_row else {}),
    }


def _answer(signature: SignatureSpec) -> Schema:
    outputs = signature.outputs
    forms = []
    if signature.uses_row_format and signature.returns_row_format:
        row = (
            tensor_schema(outputs[0], by_row=True, is_output=True)
            if len(outputs) == 1
            else _outputs_of(outputs, by_row=True)
        )
        forms.append(_holding("predictions", {"type": "array", "items": row}))
    column = (
        tensor_schema(outputs[0], by_row=False, is_output=True)
        if len(outputs) == 1
        else _outputs_of(outputs, by_row=False)
    )
    forms.append(_holding("outputs", column))
    return {"oneOf": forms} if len(forms) > 1 else forms[0]


def _outputs_of(outputs: tuple[TensorSpec, ...], *, by_row: bool) -> Schema:
    return {
        "type": "object",
        "properties": {
            one.name: tensor_schema(one, by_row=by_row, is_output=True) for one in outputs
        },
        "required": [one.name for one in outputs],
    }


def _holding(name: str, content: Mapping[str, Any]) -> Schema:
    return {"type": "object", "properties": {name: content}, "required": [name]}


def tensor_schema(tensor: TensorSpec, *, by_row: bool, is_output: bool = False) -> Schema:
    """Describe a tensor, or one row of it, as nested lists of values."""
    if tensor.shape is None:
        return {"description": f"A {tensor.dtype} tensor of any shape."}
    schema = _value_schema(tensor, is_output=is_output)
    for length in reversed(tensor.row_shape if by_row else tensor.shape):
        schema = {"type": "array", "items": schema}
        if length >= 0:
            schema |= {"minItems": length, "maxItems": length}
    return schema


def _value_schema(tensor: TensorSpec, *, is_output: bool) -> Schema:
    dtype = tensor.dtype
    if dtype == "bool":
        return {"type": "boolean"}
    if dtype == "string":
        if not is_output:
            return BYTES if tensor.takes_examples else {"anyOf": [{"type": "string"}, BYTES]}
        return BYTES if tensor.name.endswith("_bytes") else {"type": "string"}
    if dtype in INT_RANGES:
        low, high = INT_RANGES[dtype]
        return {"type": "integer", "minimum": low, "maximum": high}
    if dtype in FLOAT_FORMATS:
        return {"type": "number", "format": FLOAT_FORMATS[dtype]}
    return {"description": f"A value of type {dtype}, which JSON cannot carry: use gRPC."}
