"""A program that turns a SavedModel into ONNX, and holds the answers of both against each other.

It runs in an environment with TensorFlow, tf2onnx and onnxruntime, away from everything else, and
imports nothing of the checkout: `python -I savedmodel_to_onnx.py INPUT OUTPUT`. INPUT holds model/
and job.json with `signature`; OUTPUT gets model.onnx and result.json, or there an `error` in words.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROWS = 4
LENGTH = 8  # of what a signature leaves open, beside the rows
OPSET = 18
ABSOLUTE, RELATIVE = 1e-4, 1e-3  # closer than this is close
TINY = 1e-6
UNSUPPORTED = re.compile(r"^.*Tensorflow op \[.*?: (\w+)\] is not supported", re.MULTILINE)


class OnnxConversionError(Exception):
    """The model cannot be converted; the text is for the person who asked for it."""


def main(source: Path, target: Path) -> None:
    job = json.loads((source / "job.json").read_text())
    try:
        result = _convert(source / "model", target / "model.onnx", job["signature"])
    except OnnxConversionError as error:
        (target / "model.onnx").unlink(missing_ok=True)
        result = {"error": str(error)}
    (target / "result.json").write_text(json.dumps(result))


def _convert(folder: Path, file: Path, key: str) -> dict[str, Any]:
    _write(folder, file, key)
    feeds, expected = _sampled(folder, key)
    outputs = _compare_outputs(expected, _onnx_outputs(file, feeds))
    for name, found in outputs.items():
        print(f"{name}: differs by {found['absolute']:.3g} at most, {found['relative']:.3g} of it.")
    return {
        "opset": OPSET,
        "parity": {
            "signature": key,
            "rows": ROWS,
            "outputs": outputs,
            "is_close": all(found["is_close"] for found in outputs.values()),
        },
    }


def _write(folder: Path, file: Path, key: str) -> None:
    done = subprocess.run(  # noqa: S603 - no text of a user is in the command, but for a name
        [
            *(sys.executable, "-I", "-m", "tf2onnx.convert"),
            *("--saved-model", str(folder), "--tag", "serve", "--signature_def", key),
            *("--opset", str(OPSET), "--output", str(file)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    print(done.stdout, flush=True)
    unsupported = sorted(set(UNSUPPORTED.findall(done.stdout)))
    if unsupported:
        raise OnnxConversionError(
            "ONNX has nothing for these operations of the model, as far as tf2onnx knows:"
            f" {', '.join(unsupported)}."
        )
    if done.returncode or not file.exists():
        last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "")
        raise OnnxConversionError(f"tf2onnx could not convert it: {last[:500]}")


def _sampled(folder: Path, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a sample input, and what the SavedModel answers to it."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(folder), tags=["serve"]).signatures[key]
    inputs = signature.structured_input_signature[1]
    troubles = []
    for is_random in (True, False):
        feeds = {name: _sample(name, spec, is_random) for name, spec in inputs.items()}
        try:
            answers = signature(**{name: tf.constant(value) for name, value in feeds.items()})
        except tf.errors.OpError as error:
            troubles.append(str(error).splitlines()[0])
            continue
        return feeds, {name: tensor.numpy() for name, tensor in answers.items()}
    raise OnnxConversionError(
        "It cannot be checked: the SavedModel itself does not answer the sample inputs that its"
        f" signature calls for ({troubles[0][:300]})."
    )


def _sample(name: str, spec: Any, is_random: bool) -> Any:
    """Make an array that an input takes: random ones the same each time, or zeros."""
    import numpy as np

    dims = [None] if spec.shape.rank is None else spec.shape.as_list()
    shape = [
        size if size is not None else (ROWS if position == 0 else LENGTH)
        for position, size in enumerate(dims)
    ]
    random = np.random.default_rng(7)
    if spec.dtype.name == "string":
        texts = np.array([f"row {n}" for n in range(int(np.prod(shape)))], object)
        return texts.reshape(shape)
    if not (spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype.is_bool):
        raise OnnxConversionError(
            f"The input {name} has the type {spec.dtype.name}, which cannot be checked."
        )
    dtype = spec.dtype.as_numpy_dtype
    if not is_random:
        return np.zeros(shape, dtype)
    if spec.dtype.is_floating:
        return random.random(shape).astype(dtype)
    return random.integers(0, 2 if spec.dtype.is_bool else LENGTH, shape).astype(dtype)


def _onnx_outputs(file: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        taken = {put.name: feeds[put.name] for put in session.get_inputs()}
        answers = session.run(names, taken)
    except Exception as error:
        raise OnnxConversionError(
            f"onnxruntime cannot run the result: {str(error)[:500]}"
        ) from error
    return dict(zip(names, answers, strict=True))


def _compare_outputs(expected: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    missing = sorted(expected.keys() - answers.keys())
    if missing:
        raise OnnxConversionError(f"The result lacks the output {missing[0]} of the SavedModel.")
    return {name: _difference(expected[name], answers[name]) for name in sorted(expected)}


def _difference(expected: Any, answer: Any) -> dict[str, Any]:
    import numpy as np

    if expected.shape != answer.shape:
        raise OnnxConversionError(
            f"The result answers the shape {answer.shape}, not {expected.shape}."
        )
    if expected.dtype.kind in "OSU":
        texts = [item.decode() if isinstance(item, bytes) else item for item in expected.ravel()]
        is_same = texts == [str(item) for item in answer.ravel()]
        share = 0.0 if is_same else 1.0
        return {"absolute": share, "relative": share, "is_close": is_same}
    old, new = expected.astype(np.float64), answer.astype(np.float64)
    if not expected.size:
        return {"absolute": 0.0, "relative": 0.0, "is_close": True}
    same = (old == new) | (np.isnan(old) & np.isnan(new))
    apart = np.where(same, 0.0, np.abs(old - new))
    apart = np.nan_to_num(apart, nan=np.finfo(np.float64).max, posinf=np.finfo(np.float64).max)
    relative = apart / np.maximum(np.abs(np.nan_to_num(old)), TINY)
    is_float = expected.dtype.kind == "f"
    close = apart <= (ABSOLUTE + RELATIVE * np.abs(np.nan_to_num(old)) if is_float else 0)
    return {
        "absolute": float(apart.max()),
        "relative": float(min(relative.max(), np.finfo(np.float64).max)),
        "is_close": bool(close.all()),
    }


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
