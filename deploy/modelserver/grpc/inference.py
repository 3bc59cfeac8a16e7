"""One Predict, Classify or Regress request over gRPC: read, run, written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Protocol

from tensorflow_serving.apis import classification_pb2, regression_pb2

from .. import examples
from ..errors import ServingError
from ..loading.versions import Servable, ServableVersion
from ..predict_inputs import find_signature, read_inputs
from ..signatures import DEFAULT_SIGNATURE, Signature
from ..tensors.arrays import Array
from .predict_messages import read_output_filter, write_response

Results = Mapping[str, Array]


@dataclass(slots=True)
class GrpcInference:
    """A request that is read; `outputs` are those asked for, None for all."""

    api: str
    signature: Signature
    tensors: Results
    write: Callable[[Results], bytes]
    outputs: tuple[str, ...] | None = None
    example_count: int = 0
    seconds: float = 0.0

    @property
    def runs_inline(self) -> bool:
        return self.outputs is None and self.signature.runs_inline

    @property
    def is_batched(self) -> bool:
        return self.outputs is None and self.signature.is_batched

    def run(self, *, inline: bool = False, timeout_ms: int | None = None) -> bytes:
        """Run the model on this thread and write the answer."""
        started = perf_counter()
        results = self.signature.run(
            self.tensors, inline=inline, outputs=self.outputs, timeout_ms=timeout_ms
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


class RequestReader(Protocol):
    """Reads a request for a version that is held."""

    def __call__(
        self, request: Any, version: ServableVersion, servable: Servable, /
    ) -> GrpcInference: ...


def read_prediction(
    request: Any, version: ServableVersion, servable: Servable, *, as_content: bool
) -> GrpcInference:
    """Read a PredictRequest."""
    signature = find_signature(servable.signatures, request.model_spec.signature_name)
    tensors = read_inputs(signature, servable.definitions[signature.name], request.inputs)
    outputs = read_output_filter(signature, request.output_filter)
    write = partial(
        write_response, version.model, version.number, signature.name, as_content=as_content
    )
    return GrpcInference("Predict", signature, tensors, write, outputs)


def read_classification(
    request: Any, version: ServableVersion, servable: Servable
) -> GrpcInference:
    """Read a ClassificationRequest."""

    def write(results: Results, count: int) -> Any:
        response = classification_pb2.ClassificationResponse()
        write_classifications(examples.read_classes(results, count), response.result)
        return response

    return _read_examples("Classify", request, version, servable, examples.check_classify, write)


def read_regression(request: Any, version: ServableVersion, servable: Servable) -> GrpcInference:
    """Read a RegressionRequest."""

    def write(results: Results, count: int) -> Any:
        response = regression_pb2.RegressionResponse()
        write_regressions(examples.read_values(results, count), response.result)
        return response

    return _read_examples("Regress", request, version, servable, examples.check_regress, write)


def _read_examples(
    api: str,
    request: Any,
    version: ServableVersion,
    servable: Servable,
    check: Callable[[Signature], None],
    write_results: Callable[[Results, int], Any],
) -> GrpcInference:
    """Read a request of tf.Examples; `write_results` makes the response, but for its model."""
    signature = examples.find_signature(servable.signatures, request.model_spec.signature_name)
    check(signature)
    serialized = examples.read_input(request.input)
    count = len(serialized)

    def write(results: Results) -> bytes:
        response = write_results(results, count)
        fill_model_spec(response.model_spec, version.model, signature.name, version.number)
        return bytes(response.SerializeToString())

    tensors = examples.as_tensors(serialized)
    return GrpcInference(api, signature, tensors, write, example_count=count)


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
