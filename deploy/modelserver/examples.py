"""Classify, regress and multi-inference: tf.Examples in, labels with scores or values out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import Code, ServingError, invalid
from .signatures import DEFAULT_SIGNATURE, Signature
from .tensors.arrays import Array

Classes = list[tuple[str, float]]

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

# So many bytes the context may take, repeated for every example.
LARGEST_CONTEXTS = 256 * 2**20

_INPUTS = "inputs"
_CLASSES = "classes"
_SCORES = "scores"
_OUTPUTS = "outputs"


@dataclass(frozen=True, slots=True)
class InferenceTask:
    """One part of a multi-inference request; an empty signature name means the default one."""

    model_name: str
    signature_name: str
    method: str


def find_signature(signatures: Mapping[str, Signature], asked: str) -> Signature:
    """Return the signature that a classify or regress request names."""
    name = asked or DEFAULT_SIGNATURE
    if name not in signatures:
        raise invalid(f"No signature was found with the name: {name}")
    return signatures[name]


def read_input(given: Any) -> list[bytes]:
    """Return the serialized examples of a tensorflow.serving.Input, each with the context."""
    kind = given.WhichOneof("kind")
    if kind == "example_list_with_context":
        listed = given.example_list_with_context
        context = listed.context.SerializeToString()
    else:
        listed, context = given.example_list, b""
    check_context(context, len(listed.examples))
    # Concatenated messages are merged as they are parsed.
    examples = [context + example.SerializeToString() for example in listed.examples]
    if not examples:
        raise invalid("Input is empty.")
    return examples


def check_context(context: bytes, count: int) -> None:
    """Refuse a context that would grow too large when each example gets a copy."""
    if len(context) * count > LARGEST_CONTEXTS:
        raise invalid("The context, repeated for every example, is too large.")


def classify(
    signature: Signature, examples: Sequence[bytes], *, timeout_ms: int | None = None
) -> list[Classes]:
    """Return labels and scores, one list for each serialized example."""
    check_classify(signature)
    results = signature.run(as_tensors(examples), timeout_ms=timeout_ms)
    return read_classes(results, len(examples))


def regress(
    signature: Signature, examples: Sequence[bytes], *, timeout_ms: int | None = None
) -> list[float]:
    """Return one value for each serialized example."""
    check_regress(signature)
    results = signature.run(as_tensors(examples), timeout_ms=timeout_ms)
    return read_values(results, len(examples))


def multi_inference(
    signatures: Mapping[str, Signature],
    tasks: Iterable[InferenceTask],
    examples: Sequence[bytes],
    *,
    timeout_ms: int | None = None,
) -> list[list[Classes] | list[float]]:
    """Return what each task's signature makes of the same examples, in the order of the tasks."""
    chosen: dict[str, InferenceTask] = {}
    model_name = ""
    for task in tasks:
        name = task.signature_name or DEFAULT_SIGNATURE
        if not task.model_name:
            raise invalid("Found ModelSpec with an empty model name.")
        if model_name not in ("", task.model_name):
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        model_name = task.model_name
        if name in chosen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method == CLASSIFY_METHOD:
            check_classify(signatures[name])
        elif task.method == REGRESS_METHOD:
            check_regress(signatures[name])
        else:
            raise ServingError(
                Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method}"
            )
        chosen[name] = task
    results: list[list[Classes] | list[float]] = []
    for name, task in chosen.items():
        infer = classify if task.method == CLASSIFY_METHOD else regress
        results.append(infer(signatures[name], examples, timeout_ms=timeout_ms))
    return results


def check_classify(signature: Signature) -> None:
    """Refuse a signature that can't classify."""
    _check_method(signature, "classification", CLASSIFY_METHOD)
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    _check_input(signature, "classification")
    if _CLASSES not in signature.outputs and _SCORES not in signature.outputs:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or'
            f' "scores". Signature was: {_shown(signature)}',
        )


def check_regress(signature: Signature) -> None:
    """Refuse a signature that can't regress."""
    _check_method(signature, "regression", REGRESS_METHOD)
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    _check_input(signature, "regression")
    if _OUTPUTS not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {_shown(signature)}")


def as_tensors(examples: Sequence[bytes]) -> dict[str, Array]:
    """Return what a signature that can classify or regress is fed."""
    if not examples:
        raise invalid("Input is empty.")
    tensor = np.empty(len(examples), dtype=object)
    tensor[:] = examples
    return {_INPUTS: tensor}


def _check_method(signature: Signature, kind: str, method: str) -> None:
    if signature.method not in ("", method):
        raise invalid(
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method}"
        )
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")


def _check_input(signature: Signature, kind: str) -> None:
    if _INPUTS not in signature.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {_shown(signature)}")


def _shown(signature: Signature) -> str:
    inputs = ", ".join(f"{name}: {dtype}" for name, dtype in signature.inputs.items())
    return f"inputs {{{inputs}}} outputs {{{', '.join(signature.outputs)}}}"


def read_classes(results: Mapping[str, Array], count: int) -> list[Classes]:
    """Return the labels and scores in what such a signature computed."""
    classes, scores = results.get(_CLASSES), results.get(_SCORES)
    if classes is not None:
        _check_matrix(classes, _CLASSES, count, is_text=True)
    if scores is not None:
        _check_matrix(scores, _SCORES, count, is_text=False)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid(
            "Tensors class and score should match in dim_size(1). Got"
            f" {classes.shape[1]} vs. {scores.shape[1]}"
        )
    if classes is None:
        if scores is None:
            return [[] for _ in range(count)]
        return [[("", score) for score in row] for row in scores.tolist()]
    labels = [[_label(label) for label in row] for row in classes.tolist()]
    if scores is None:
        return [[(label, 0.0) for label in row] for row in labels]
    return [
        list(zip(names, row, strict=True))
        for names, row in zip(labels, scores.tolist(), strict=True)
    ]


def _check_matrix(array: Array, name: str, count: int, *, is_text: bool) -> None:
    if array.ndim != 2:
        raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if is_text and array.dtype.kind not in "OS":
        raise invalid(f"Expected {name} Tensor of DT_STRING. Got: {_dtype(array)}")
    if not is_text and array.dtype != np.float32:
        raise invalid(f"Expected {name} Tensor of DT_FLOAT. Got: {_dtype(array)}")
    if array.shape[0] != count:
        raise invalid(f"Expected {name} output batch size of {count}. Got: {array.shape[0]}")


def read_values(results: Mapping[str, Array], count: int) -> list[float]:
    """Return the values in what such a signature computed."""
    array = results[_OUTPUTS]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got"
            f" {_shape(array)}"
        )
    if array.shape[0] != count:
        raise invalid(
            f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}"
        )
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array)}")
    values: list[float] = array.reshape(-1).tolist()
    return values


def _label(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _shape(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _dtype(array: Array) -> str:
    if array.dtype.kind in "OS":
        return "DT_STRING"
    names = {"float32": "float", "float64": "double", "float16": "half"}
    return f"DT_{names.get(array.dtype.name, array.dtype.name).upper()}"
