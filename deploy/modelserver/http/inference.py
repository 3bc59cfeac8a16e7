"""One predict, classify or regress request of REST, in steps that each run where it costs least."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from time import perf_counter

from .. import examples
from ..errors import Code, ServingError, invalid
from ..loading.versions import Servable
from ..signatures import Signature, find_signature
from ..tensors.arrays import Array
from ..work_memory import ANSWER_BYTES, COUNTED, WORK_MEMORY, parsed_size
from .example_bodies import read_examples, write_classifications, write_regressions
from .messages import MAX_BODY, RestRequest
from .predict_request import RequestBody, RequestFormat, read_document, read_inputs
from .predict_response import write_results

Tensors = Mapping[str, Array]

# Larger bodies take longer to parse than to hand to a thread.
INLINE_BODY = 16 * 1024
# So much of a gzip body is inflated at a time.
GZIP_SLICE = 4096
# What a byte of it may become at most.
GZIP_RATIO = 1032


class RestInference(ABC):
    """A request that is read, run and answered.

    A missing model is only complained about once the body is known to be in order.
    """

    api: str

    def __init__(
        self, request: RestRequest, servable: Servable | None, missing: ServingError | None
    ) -> None:
        self.seconds = 0.0
        self.example_count = 0
        self._request = request
        self._servable = servable
        self._missing = missing
        self._signature: Signature | None = None
        self._tensors: Tensors = {}

    def prepare(self) -> Signature:
        """Read the body into tensors, once."""
        if self._signature is None:
            self._signature, self._tensors = self._read_body()
        return self._signature

    def _read_body(self) -> tuple[Signature, Tensors]:
        body = self._request.body
        if self._request.is_gzip:
            # Inflated in pieces, and then copied.
            with WORK_MEMORY.hold(2 * min(MAX_BODY, GZIP_RATIO * len(body))):
                body = inflate(body)
        if len(body) <= INLINE_BODY:
            return self._read(read_document(body))
        with WORK_MEMORY.hold(parsed_size(body)):
            return self._read(read_document(body))

    def run(self, *, inline: bool = False) -> bytes:
        """Run the model on this thread and write its answer."""
        signature = self.prepare()
        started = perf_counter()
        results = signature.run(self._tensors, inline=inline)
        self.seconds = perf_counter() - started
        return self._answer(results)

    def submit(self, done: Callable[[Callable[[], bytes]], None]) -> None:
        """Have a batch take the request; `done` gets what writes the answer or raises."""
        signature = self.prepare()
        started = perf_counter()

        def ran(results: Tensors | ServingError) -> None:
            self.seconds = perf_counter() - started
            done(lambda: self._answer(results))

        signature.submit(self._tensors, ran)

    def _answer(self, results: Tensors | ServingError) -> bytes:
        if isinstance(results, ServingError):
            raise results
        size = ANSWER_BYTES * sum(array.size for array in results.values())
        if size < COUNTED:
            return self._write(results)
        with WORK_MEMORY.hold(size):
            return self._write(results)

    def _signatures(self) -> Mapping[str, Signature]:
        if self._servable is None:
            raise self._missing or ServingError(Code.INTERNAL, "There is no model")
        return self._servable.signatures

    @abstractmethod
    def _read(self, document: RequestBody) -> tuple[Signature, Tensors]: ...

    @abstractmethod
    def _write(self, results: Tensors) -> bytes: ...


class Prediction(RestInference):
    api = "Predict"
    _form = RequestFormat.ROW

    def _read(self, document: RequestBody) -> tuple[Signature, Tensors]:
        asked = document.signature_name
        signature = find_signature(self._signatures(), asked)
        self._form, tensors = read_inputs(document, signature.inputs)
        return signature, tensors

    def _write(self, results: Tensors) -> bytes:
        return write_results(results, self._form)


class _ExampleInference(RestInference):
    """What classify and regress requests have in common."""

    def _read(self, document: RequestBody) -> tuple[Signature, Tensors]:
        asked = document.signature_name
        serialized = read_examples(document.members)
        signature = examples.find_signature(self._signatures(), asked)
        self._check(signature)
        self.example_count = len(serialized)
        return signature, examples.as_tensors(serialized)

    @abstractmethod
    def _check(self, signature: Signature) -> None: ...


class Classification(_ExampleInference):
    api = "Classify"

    def _check(self, signature: Signature) -> None:
        examples.check_classify(signature)

    def _write(self, results: Tensors) -> bytes:
        return write_classifications(examples.read_classes(results, self.example_count))


class Regression(_ExampleInference):
    api = "Regress"

    def _check(self, signature: Signature) -> None:
        examples.check_regress(signature)

    def _write(self, results: Tensors) -> bytes:
        return write_regressions(examples.read_values(results, self.example_count))


INFERENCES: dict[str, type[RestInference]] = {
    "predict": Prediction,
    "classify": Classification,
    "regress": Regression,
}


def inflate(body: bytes) -> bytes:
    """Return what a gzip body holds, but never more than a plain body might."""
    inflated = bytearray()
    stream = zlib.decompressobj(wbits=31)
    place = 0
    while place < len(body):
        # A member leaves a copy of all it was given beyond its end: that must not be the rest.
        given = body[place : place + GZIP_SLICE]
        if stream.eof:
            stream = zlib.decompressobj(wbits=31)
        try:
            inflated += stream.decompress(given, MAX_BODY - len(inflated) + 1)
        except zlib.error as error:
            raise invalid(f"The gzip body can't be inflated: {error}") from None
        if len(inflated) > MAX_BODY:
            raise BodyTooLarge
        place += len(given) - len(stream.unused_data)
    if body and not stream.eof:
        raise invalid("The gzip body ends too early")
    return bytes(inflated)


class BodyTooLarge(ServingError):
    """A body that inflates to more than the server takes."""

    def __init__(self) -> None:
        limit = MAX_BODY // 2**20
        super().__init__(
            Code.INVALID_ARGUMENT, f"The request body is larger than {limit} MiB when inflated"
        )

    @property
    def http_status(self) -> int:
        return 413
