"""Model versions with signatures that tests write down."""

from models.models import ModelVersion

Described = dict[str, tuple[str, list[int] | None]]


def version_with(
    inputs: Described,
    name: str = "serving_default",
    outputs: Described | None = None,
    method: str = "tensorflow/serving/predict",
) -> ModelVersion:
    signature = {
        "method": method,
        "inputs": _described(inputs),
        "outputs": _described(outputs or {"y": ("float32", [-1, 2])}),
    }
    return ModelVersion(signatures={name: signature})


def _described(tensors: Described) -> dict[str, object]:
    return {key: {"dtype": dtype, "shape": shape} for key, (dtype, shape) in tensors.items()}
