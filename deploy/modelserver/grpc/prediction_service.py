"""tensorflow.serving.PredictionService: what models answer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from .. import examples
from ..errors import ServingError, invalid
from ..loading.server_core import ServerCore
from ..loading.versions import Servable, ServableVersion
from ..monitoring import Metrics
from ..tensors.arrays import Array
from ..work_memory import WORK_MEMORY, message_size
from .calls import RpcMethod, as_serving_error, check_model_spec, parsed, unary
from .inference import (
    GrpcInference,
    RequestReader,
    fill_model_spec,
    read_classification,
    read_prediction,
    read_regression,
    write_classifications,
    write_regressions,
)
from .predict_messages import count_strings, has_large_inputs

# Larger requests take longer to read than to hand to a thread.
INLINE_REQUEST = 16 * 1024

T = TypeVar("T")


class PredictionService:
    """Answers on the event loop; runs that are not quick go to threads or into batches."""

    def __init__(
        self, core: ServerCore, threads: Executor, metrics: Metrics, *, as_content: bool = False
    ) -> None:
        self._core = core
        self._threads = threads
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._read_prediction = partial(read_prediction, as_content=as_content)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the methods to register."""
        infer = self._inferring
        return grpc.method_handlers_generic_handler(
            "tensorflow.serving.PredictionService",
            {
                "Predict": unary(
                    infer(predict_pb2.PredictRequest, self._read_prediction, has_large_inputs)
                ),
                "Classify": unary(
                    infer(classification_pb2.ClassificationRequest, read_classification)
                ),
                "Regress": unary(infer(regression_pb2.RegressionRequest, read_regression)),
                "MultiInference": unary(self.multi_inference),
                "GetModelMetadata": unary(self.get_model_metadata),
            },
        )

    async def multi_inference(self, data: bytes, context: Any) -> bytes:
        """Have several signatures of one model judge the same examples."""
        request = parsed(inference_pb2.MultiInferenceRequest, data)
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        version = self._find(spec)
        servable = version.hold()
        try:
            return await self._in_thread(
                version,
                partial(self._infer_all, request, version, servable, _timeout_ms(context)),
            )
        finally:
            version.release()

    async def get_model_metadata(self, data: bytes, context: Any) -> bytes:
        """Return the signatures of a model."""
        request = parsed(get_model_metadata_pb2.GetModelMetadataRequest, data)
        spec = check_model_spec(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        version = self._find(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in version.loaded.definitions.items():
            signatures.signature_def[name].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version.number
        response.metadata["signature_def"].Pack(signatures)
        return bytes(response.SerializeToString())

    def _inferring(
        self,
        kind: Any,
        read: RequestReader,
        takes_long: Callable[[Any], bool] = lambda request: False,
    ) -> RpcMethod:
        """Make the method for one kind of request, counted and timed.

        `takes_long` tells a request that takes longer to read than its size says.
        """

        async def answer(data: bytes, context: Any) -> bytes:
            arrived = perf_counter()
            request = parsed(kind, data)
            model = request.model_spec.name
            try:
                version = self._find(check_model_spec(request))
                servable = version.hold()
                try:
                    prepare = partial(
                        _read_within_memory, read, request, version, servable, len(data)
                    )
                    in_thread = len(data) > INLINE_REQUEST or takes_long(request)
                    inference, reply = await self._infer(version, prepare, in_thread, context)
                finally:
                    version.release()
            except Exception as error:
                failure = as_serving_error(error)
                # Names that no model has would make the page of metrics grow without end.
                if model in self._core.models:
                    self._metrics.count_request(model, failure.code.name)
                raise failure from error
            self._count(model, inference, arrived)
            return reply

        return answer

    def _count(self, model: str, inference: GrpcInference, arrived: float) -> None:
        self._metrics.count_request(model, "OK")
        self._metrics.observe_request(model, inference.api, "GRPC", perf_counter() - arrived)
        self._metrics.observe_run(model, inference.api, inference.seconds)
        if inference.example_count:
            self._metrics.examples(model, inference.example_count)

    async def _infer(
        self,
        version: ServableVersion,
        prepare: Callable[[], GrpcInference],
        in_thread: bool,
        context: Any,
    ) -> tuple[GrpcInference, bytes]:
        """Read, run and write where that costs least."""
        if in_thread:
            return await self._in_thread(version, partial(_run, prepare, _timeout_ms(context)))
        inference = prepare()
        if inference.runs_inline:
            return inference, inference.run(inline=True)
        if inference.is_batched:
            results = await self._in_batch(version, inference, _timeout_ms(context))
            return inference, inference.write(results)
        run = partial(inference.run, timeout_ms=_timeout_ms(context))
        return inference, await self._in_thread(version, run)

    async def _in_thread(self, version: ServableVersion, work: Callable[[], T]) -> T:
        """Run on a thread; the version is held until that ends, whether it is waited for or not."""
        version.hold()
        future = self._threads.submit(work)
        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(version.release))
        return await asyncio.wrap_future(future)

    async def _in_batch(
        self, version: ServableVersion, inference: GrpcInference, timeout_ms: int
    ) -> dict[str, Array]:
        """Wait for the batch that takes the tensors; the version is held as long."""
        outcome: asyncio.Future[dict[str, Array]] = self._loop.create_future()

        def settle(results: dict[str, Array] | ServingError) -> None:
            version.release()
            if outcome.cancelled():
                return
            if isinstance(results, ServingError):
                outcome.set_exception(results)
            else:
                outcome.set_result(results)

        version.hold()
        try:
            inference.submit(
                lambda results: self._loop.call_soon_threadsafe(settle, results), timeout_ms
            )
        except BaseException:
            version.release()
            raise
        return await outcome

    def _find(self, spec: Any) -> ServableVersion:
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        chosen = spec.WhichOneof("version_choice")
        return self._core.find(
            spec.name,
            spec.version.value if chosen == "version" else None,
            spec.version_label if chosen == "version_label" else None,
        )

    def _infer_all(
        self, request: Any, version: ServableVersion, servable: Servable, timeout_ms: int
    ) -> bytes:
        tasks = [
            examples.InferenceTask(
                task.model_spec.name, task.model_spec.signature_name, task.method_name
            )
            for task in request.tasks
        ]
        serialized = examples.read_input(request.input)
        results = examples.multi_inference(
            servable.signatures, tasks, serialized, timeout_ms=timeout_ms
        )
        self._metrics.examples(tasks[0].model_name, len(serialized))
        response = inference_pb2.MultiInferenceResponse()
        for task, result in zip(tasks, results, strict=True):
            written = response.results.add()
            fill_model_spec(
                written.model_spec, task.model_name, task.signature_name, version.number
            )
            if task.method == examples.CLASSIFY_METHOD:
                write_classifications(result, written.classification_result)
            else:
                write_regressions(result, written.regression_result)
        return bytes(response.SerializeToString())


def _read_within_memory(
    read: RequestReader, request: Any, version: ServableVersion, servable: Servable, size: int
) -> GrpcInference:
    """Read a request, if there is memory for what it becomes."""
    if size <= INLINE_REQUEST:
        return read(request, version, servable)
    with WORK_MEMORY.hold(message_size(size, count_strings(request))):
        return read(request, version, servable)


def _run(prepare: Callable[[], GrpcInference], timeout_ms: int) -> tuple[GrpcInference, bytes]:
    inference = prepare()
    return inference, inference.run(timeout_ms=timeout_ms)


def _timeout_ms(context: Any) -> int:
    """Return what is left of the client's deadline, 0 where it has none."""
    seconds = context.time_remaining()
    return 0 if seconds is None else max(1, int(seconds * 1000))
