"""Programs that score with a service, each written for its model's signature."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from deploy.contract.examples import EMPTY_EXAMPLE, Example, example_of, scalar_of
from deploy.contract.signatures import DEFAULT_SIGNATURE, SignatureSpec, TensorSpec

KEY = "YOUR_KEY"
FILE = "request.json"
MOST_LISTED = 32


@dataclass(frozen=True)
class ServiceEndpoint:
    """Where a service is reached, and the origins whose web pages may call it.
    `grpc` is host:port of the gRPC gateway, "" where it is off.

    `grpc_name` is what a gRPC call names the service by, "" where its key does.
    """

    scoring_uri: str
    model: str
    grpc: str = ""
    grpc_name: str = ""
    needs_key: bool = True
    allowed_origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClientProgram:
    name: str
    title: str
    text: str
    needs: str = ""


def programs_for(place: ServiceEndpoint, signature: SignatureSpec) -> list[ClientProgram]:
    """Write the first request in each language that the page offers."""
    if signature.why_not_rest:
        return _grpc_alone(place, signature)
    example = example_of(signature)
    shown = [
        ClientProgram("curl", "curl", _curl(place, example)),
        ClientProgram(
            "python", "Python", _python(place, signature, example), "pip install requests"
        ),
        ClientProgram("javascript", "JavaScript", _javascript(place, signature, example)),
    ]
    return [*shown, *_grpc_program(place, signature)]


def _grpc_program(place: ServiceEndpoint, signature: SignatureSpec) -> list[ClientProgram]:
    if not (place.grpc and signature.is_callable):
        return []
    needs = "pip install tensorflow-serving-api"
    return [ClientProgram("grpc", "gRPC", _grpc(place, signature), needs)]


def _grpc_alone(place: ServiceEndpoint, signature: SignatureSpec) -> list[ClientProgram]:
    """Say in each language of REST why there is no program, after the one that there is."""
    why = [signature.why_not_rest]
    if signature.is_callable and not place.grpc:
        why.append("gRPC is off here: TRAINYARD_GRPC_PORT turns it on.")
    return [
        *_grpc_program(place, signature),
        *(
            ClientProgram(name, title, "\n".join(f"{mark} {line}" for line in why))
            for name, title, mark in (
                ("curl", "curl", "#"),
                ("python", "Python", "#"),
                ("javascript", "JavaScript", "//"),
            )
        ),
    ]


def _curl(place: ServiceEndpoint, example: Example) -> str:
    data = f"@{FILE}" if example.body is None else json.dumps(example.body)
    return " \\\n".join(
        [
            f"curl {shlex.quote(place.scoring_uri)}",
            *([f"  -H 'Authorization: Bearer {KEY}'"] if place.needs_key else []),
            "  -H 'Content-Type: application/json'",
            f"  -d {shlex.quote(data)}",
        ]
    )


def _python(place: ServiceEndpoint, signature: SignatureSpec, example: Example) -> str:
    headers = f', headers={{"Authorization": "Bearer {KEY}"}}' if place.needs_key else ""
    return "\n".join(
        [
            "import requests",
            "",
            f"body = {_body(signature, example, PYTHON)}",
            f"address = {json.dumps(place.scoring_uri)}",
            f"answer = requests.post(address, json=body{headers})",
            "answer.raise_for_status()",
            "print(answer.json())",
        ]
    )


class _Language(NamedTuple):
    """How a language writes a value, and a list that holds one several times."""

    literal: Callable[[Any], str]
    times: Callable[[str, int], str]


PYTHON = _Language(repr, lambda text, count: f"[{text}] * {count}")
JAVASCRIPT = _Language(json.dumps, lambda text, count: f"Array({count}).fill({text})")


def _body(signature: SignatureSpec, example: Example, language: _Language) -> str:
    """Write the body; values too long to be read are written as repetitions."""
    if example.body is not None and signature.size <= MOST_LISTED:
        return language.literal(example.body)
    named = signature.name != DEFAULT_SIGNATURE
    start = f'"signature_name": {json.dumps(signature.name)}, ' if named else ""
    by_row = signature.uses_row_format
    values = {
        json.dumps(one.name): _repeated(one, language, skip=int(by_row)) for one in signature.inputs
    }
    content = next(iter(values.values()))
    if len(values) > 1:
        content = f"{{{', '.join(f'{name}: {value}' for name, value in values.items())}}}"
    return f'{{{start}"instances": [{content}]}}' if by_row else f'{{{start}"inputs": {content}}}'


def _repeated(tensor: TensorSpec, language: _Language, *, skip: int) -> str:
    value = EMPTY_EXAMPLE if tensor.takes_examples else scalar_of(tensor.dtype)
    text = language.literal(value)
    for length in reversed(tensor.lengths[skip:]):
        text = f"[{text}]" if length == 1 else language.times(text, length)
    return text


def _javascript(place: ServiceEndpoint, signature: SignatureSpec, example: Example) -> str:
    key = f'Authorization: "Bearer {KEY}", ' if place.needs_key else ""
    return "\n".join(
        [
            f"// {_where_javascript_works(place)}",
            f"const body = {_body(signature, example, JAVASCRIPT)};",
            f"const answer = await fetch({json.dumps(place.scoring_uri)}, {{",
            '  method: "POST",',
            f'  headers: {{ {key}"Content-Type": "application/json" }},',
            "  body: JSON.stringify(body),",
            "});",
            "if (!answer.ok) throw new Error(await answer.text());",
            "console.log(await answer.json());",
        ]
    )


def _where_javascript_works(place: ServiceEndpoint) -> str:
    if not place.allowed_origins:
        return "In browsers: no web page of another origin may call this service (see Settings)."
    origins = ", ".join(place.allowed_origins)
    return f"In browsers: web pages of {origins} may call this service (see Settings)."


def _grpc(place: ServiceEndpoint, signature: SignatureSpec) -> str:
    named = signature.name != DEFAULT_SIGNATURE
    entries = {"authorization": f"Bearer {KEY}"} if place.needs_key else {}
    if place.grpc_name:
        entries["trainyard-service"] = place.grpc_name
    return "\n".join(
        [
            "import grpc",
            "import tensorflow as tf",
            "from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc",
            "",
            "request = predict_pb2.PredictRequest()",
            f"request.model_spec.name = {json.dumps(place.model)}",
            *([f"request.model_spec.signature_name = {json.dumps(signature.name)}"] * named),
            *(_grpc_input(one) for one in signature.inputs),
            f"with grpc.insecure_channel({json.dumps(place.grpc)}) as channel:",
            "    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)",
            f"    metadata = {list(entries.items())!r}",
            "    answer = stub.Predict(request, timeout=10, metadata=metadata)",
            "for name, tensor in answer.outputs.items():",
            "    print(name, tf.make_ndarray(tensor))",
        ]
    )


def _grpc_input(tensor: TensorSpec) -> str:
    value = repr(scalar_of(tensor.dtype))
    if tensor.dtype == "string":
        value = "tf.train.Example().SerializeToString()" if tensor.takes_examples else 'b"text"'
    if tensor.size > MOST_LISTED:
        proto = f'tf.make_tensor_proto({value}, dtype="{tensor.dtype}", shape={tensor.lengths})'
    else:
        for length in reversed(tensor.lengths):
            value = f"[{', '.join([value] * length)}]"
        proto = f'tf.make_tensor_proto({value}, dtype="{tensor.dtype}")'
    return f"request.inputs[{json.dumps(tensor.name)}].CopyFrom({proto})"
