"""One Predict, Classify or Regress request over gRPC: read, run, written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Protocol

from tensorflow_serving.apis import classification_pb2, regression_pb2

from . import examples
from .errors import ServingError
from .grpc_predict import find_signature, read_inputs, read_output_filter, write_response
from .signatures import DEFAULT_SIGNATURE, Signature
from .tensors import Array
from .versions import Servable, Version

Results = Mapping[str, Array]


@dataclass(slots=True)
class Inference:
    """A request that is read; `outputs` are those asked for, None for all."""

    api: str
    signature: Signature
    tensors: Results
    write: Callable[[Results], bytes]
    outputs: tuple[str, ...] | None = None
    example_count: int = 0
    seconds: float = 0.0

    @property
    def is_quick(self) -> bool:
        return self.outputs is None and self.signature.is_quick

    @property
    def is_batched(self) -> bool:
        return self.outputs is None and self.signature.is_batched

    def run(self, *, in_place: bool = False, timeout_ms: int | None = None) -> bytes:
        """Run the model on this thread and write the answer."""
        started = perf_counter()
        results = self.signature.run(
            self.tensors, in_place=in_place, outputs=self.outputs, timeout_ms=timeout_ms
        )
        self.seconds = perf_counter() - started
        return self.write(results)

    def submit(
        self, done: Callable[[dict[str, Array] | ServingError], Any], timeout_ms: int | None
    ) -> None:
        """Have a batch take the tensors; `done` is called on another thread."""
        started = perf_counter()

        def ran(results: dict[str, Array] | ServingError) -> None:
            self.seconds = perf_counter() - started
            done(results)

        self.signature.submit(self.tensors, ran, timeout_ms)


class Read(Protocol):
    """Reads a request for a version that is held."""

    def __call__(self, request: Any, version: Version, servable: Servable, /) -> Inference: ...


def read_prediction(
    request: Any, version: Version, servable: Servable, *, as_content: bool
) -> Inference:
    """Read a PredictRequest."""
    signature = find_signature(servable.signatures, request.model_spec.signature_name)
    tensors = read_inputs(signature, servable.definitions[signature.name], request.inputs)
    outputs = read_output_filter(signature, request.output_filter)
    write = partial(
        write_response, version.model, version.number, signature.name, as_content=as_content
    )
    return Inference("Predict", signature, tensors, write, outputs)


def read_classification(request: Any, version: Version, servable: Servable) -> Inference:
    """Read a ClassificationRequest."""
    signature = examples.find_signature(servable.signatures, request.model_spec.signature_name)
    examples.check_classify(signature)
    serialized = examples.read_input(request.input)
    count = len(serialized)

    def write(results: Results) -> bytes:
        response = classification_pb2.ClassificationResponse()
        fill_model_spec(response.model_spec, version.model, signature.name, version.number)
        write_classifications(examples.read_classes(results, count), response.result)
        return bytes(response.SerializeToString())

    tensors = examples.as_tensors(serialized)
    return Inference("Classify", signature, tensors, write, example_count=count)


def read_regression(request: Any, version: Version, servable: Servable) -> Inference:
    """Read a RegressionRequest."""
    signature = examples.find_signature(servable.signatures, request.model_spec.signature_name)
    examples.check_regress(signature)
    serialized = examples.read_input(request.input)
    count = len(serialized)

    def write(results: Results) -> bytes:
        response = regression_pb2.RegressionResponse()
        fill_model_spec(response.model_spec, version.model, signature.name, version.number)
        write_regressions(examples.read_values(results, count), response.result)
        return bytes(response.SerializeToString())

    tensors = examples.as_tensors(serialized)
    return Inference("Regress", signature, tensors, write, example_count=count)


def write_classifications(results: Sequence[Any], into: Any) -> None:
    """Fill a ClassificationResult."""
    for classes in results:
        written = into.classifications.add()
        for label, score in classes:
            written.classes.add(label=label, score=score)


def write_regressions(results: Sequence[Any], into: Any) -> None:
    """Fill a RegressionResult."""
    for value in results:
        into.regressions.add(value=value)


def fill_model_spec(spec: Any, model: str, signature: str, version: int) -> None:
    """Say who answered: never by label, and by the default signature's name where none was."""
    spec.name = model
    spec.version.value = version
    spec.signature_name = signature or DEFAULT_SIGNATURE
