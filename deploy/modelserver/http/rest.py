"""TensorFlow Serving's REST paths: which request means what, and the answer to it."""

import logging
import re
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache, partial
from time import perf_counter
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from ..errors import Code, ServingError, invalid
from ..loading.directories import MAX_VERSION
from ..loading.server_core import ServerCore
from ..loading.versions import ServableVersion
from ..monitoring import CONTENT_TYPE, Metrics
from .inference import INFERENCES, INLINE_BODY, RestInference
from .messages import CORS_HEADERS, Reply, RestRequest, RestResponse

log = logging.getLogger("modelserver")

Outcome = bytes | ServingError
Finish = Callable[[Outcome], None]

# Larger ones are read one at a time: reading holds up all other threads, and takes memory.
READ_ALONE = 1024 * 1024
TOO_MANY = 429
RETRY_AFTER = b"Retry-After: 1\r\n"
MAX_CACHED_TARGET = 512  # a thousand of them are kept, so that strangers cannot fill the memory

_TARGET = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_TARGET}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_LOOK = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_TARGET}(?P<metadata>/metadata)?", re.IGNORECASE
)
_NOT_FOUND_PAGE = b"<html><head><title>404 Not Found</title></head><body>Not Found</body></html>"


@dataclass(frozen=True, slots=True)
class RestRoute:
    """What a method and path ask for."""

    action: str
    name: str = ""
    version: int | None = None
    label: str | None = None


def find_route(method: str, target: str) -> RestRoute:
    """Read a request line; a path that means nothing is an INVALID_ARGUMENT, as in the original."""
    find = _find_usual_route if len(target) <= MAX_CACHED_TARGET else _find_any_route
    return find(method, target)


def _find_any_route(method: str, target: str) -> RestRoute:
    path = target.partition("?")[0]
    pattern = {"POST": _INFERENCE, "GET": _LOOK}.get(method)
    found = pattern.fullmatch(path) if pattern else None
    if found is None:
        raise invalid(f"Malformed request: {method} {path}")
    name = _decoded(found["name"] or "")
    version = found["version"]
    if version and int(version[:30]) > MAX_VERSION:
        raise invalid(f"Failed to convert version: {version} to numeric.")
    label = _decoded(found["label"]) if found["label"] else None
    if method == "POST":
        action = found["method"]
        if action != action.lower():
            raise invalid(f"Malformed request: {method} {path}")
    else:
        action = "metadata" if found["metadata"] else "status"
        if not name:
            raise invalid("Missing model name in request.")
    return RestRoute(action, name, int(version) if version else None, label)


_find_usual_route = lru_cache(maxsize=1024)(_find_any_route)


class RestApi:
    """Answers requests; called on the event loop, replies there.

    The `reader` has one thread, which reads what is large before a worker runs it.
    """

    def __init__(
        self,
        core: ServerCore,
        workers: Executor,
        reader: Executor,
        call_soon_threadsafe: Callable[..., Any],
        metrics: Metrics,
        *,
        allow_cors: bool = False,
        metrics_path: str | None = None,
    ) -> None:
        self._core = core
        self._workers = workers
        self._reader = reader
        self._call_soon = call_soon_threadsafe
        self._metrics = metrics
        self._metrics_path = metrics_path
        self._headers = CORS_HEADERS if allow_cors else b""

    def __call__(self, request: RestRequest, reply: Reply) -> None:
        try:
            self._answer(request, reply)
        except ServingError as error:
            reply(self._error(error))
        except Exception:
            log.exception("%s %s failed", request.method, request.target)
            reply(self._error(ServingError(Code.INTERNAL, "Internal error; see the log")))

    def _answer(self, request: RestRequest, reply: Reply) -> None:
        target = request.target
        if self._metrics_path is not None and target.partition("?")[0] == self._metrics_path:
            reply(self._metrics_page(request.method))
        elif target[:4].lower() != "/v1/":
            reply(self._outside(target.partition("?")[0]))
        elif request.method == "OPTIONS":
            known = request.origin.startswith(("http://", "https://"))
            reply(RestResponse(200 if known else 400, b"", headers=self._headers))
        else:
            route = find_route(request.method, target)
            if route.action == "status":
                reply(self._json(self._status(route)))
            elif route.action == "metadata":
                reply(self._json(self._metadata(route)))
            else:
                self._infer(route, request, reply)

    def _metrics_page(self, method: str) -> RestResponse:
        if method != "GET":
            return RestResponse(405, b"", CONTENT_TYPE, b"Allow: GET\r\n")
        return RestResponse(200, self._metrics.page(), CONTENT_TYPE)

    def _outside(self, path: str) -> RestResponse:
        if path == "/healthz":
            return self._json({"status": "ok"})
        if path == "/readyz":
            waiting = self._core.waiting()
            if waiting:
                message = f"No version of {', '.join(waiting)} is available"
                return self._error(ServingError(Code.UNAVAILABLE, message))
            return self._json({"status": "ready"})
        return RestResponse(404, _NOT_FOUND_PAGE, b"text/html")

    def _find(self, route: RestRoute) -> ServableVersion:
        return self._core.find(route.name, route.version, route.label)

    def _status(self, route: RestRoute) -> dict[str, Any]:
        versions = self._core.statuses(route.name, route.version)
        return {"model_version_status": [_version_status(version) for version in versions]}

    def _metadata(self, route: RestRoute) -> dict[str, Any]:
        version = self._find(route)
        servable = version.loaded
        return {
            "model_spec": {
                "name": route.name,
                "signature_name": "",
                "version": str(version.number),
            },
            "metadata": {"signature_def": {"signature_def": servable.metadata}},
        }

    def _infer(self, route: RestRoute, request: RestRequest, reply: Reply) -> None:
        arrived = perf_counter()
        # The body is read before the model is looked for: its errors come first.
        version: ServableVersion | None = None
        missing: ServingError | None = None
        try:
            version = self._find(route)
            servable = version.hold()
        except ServingError as error:
            missing, servable = error, None
        inference = INFERENCES[route.action](request, servable, missing)

        def finish(outcome: Outcome) -> None:
            if version is not None:
                version.release()
            self._count(route, inference, outcome, arrived)
            reply(self._response(outcome))

        if len(request.body) > READ_ALONE or request.is_gzip:
            self._reader.submit(self._read_alone, inference, finish)
            return
        if len(request.body) > INLINE_BODY:
            self._workers.submit(self._in_thread, inference, finish)
            return
        try:
            signature = inference.prepare()
        except Exception as error:
            finish(_as_serving_error(error))
            return
        if signature.runs_inline:
            finish(_outcome(partial(inference.run, inline=True)))
        elif signature.is_batched:
            self._in_batch(inference, finish)
        else:
            self._workers.submit(self._in_thread, inference, finish)

    def _read_alone(self, inference: RestInference, finish: Finish) -> None:
        try:
            inference.prepare()
        except Exception as error:
            self._call_soon(finish, _as_serving_error(error))
            return
        self._workers.submit(self._in_thread, inference, finish)

    def _in_thread(self, inference: RestInference, finish: Finish) -> None:
        try:
            is_batched = inference.prepare().is_batched
        except Exception as error:
            self._call_soon(finish, _as_serving_error(error))
            return
        if is_batched:
            self._in_batch(inference, finish)
        else:
            self._call_soon(finish, _outcome(inference.run))

    def _in_batch(self, inference: RestInference, finish: Finish) -> None:
        try:
            inference.submit(lambda write: self._call_soon(finish, _outcome(write)))
        except Exception as error:
            self._call_soon(finish, _as_serving_error(error))

    def _count(
        self, route: RestRoute, inference: RestInference, outcome: Outcome, arrived: float
    ) -> None:
        # Names that no model has would make the page grow without end.
        if route.name not in self._core.models:
            return
        metrics = self._metrics
        if isinstance(outcome, ServingError):
            metrics.count_request(route.name, outcome.code.name)
            return
        metrics.count_request(route.name, "OK")
        metrics.observe_request(route.name, route.action, "REST", perf_counter() - arrived)
        metrics.observe_run(route.name, inference.api, inference.seconds)
        if inference.example_count:
            metrics.examples(route.name, inference.example_count)

    def _response(self, outcome: Outcome) -> RestResponse:
        if isinstance(outcome, ServingError):
            return self._error(outcome)
        return RestResponse(200, outcome, headers=self._headers)

    def _json(self, content: Any) -> RestResponse:
        return RestResponse(
            200, orjson.dumps(content, option=orjson.OPT_INDENT_2), headers=self._headers
        )

    def _error(self, error: ServingError) -> RestResponse:
        status = error.http_status
        headers = self._headers + RETRY_AFTER if status == TOO_MANY else self._headers
        return RestResponse.of_error(status, error.message, headers=headers)


def _outcome(answer: Callable[[], bytes]) -> Outcome:
    try:
        return answer()
    except Exception as error:
        return _as_serving_error(error)


def _as_serving_error(error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    if isinstance(error, MemoryError):
        message = "Not enough memory for this request; send fewer values at a time"
        return ServingError(Code.RESOURCE_EXHAUSTED, message)
    log.error("An inference failed", exc_info=error)
    return ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")


def _decoded(part: str) -> str:
    return unquote_to_bytes(part).decode("utf-8", "replace")


def _version_status(version: ServableVersion) -> dict[str, Any]:
    error = version.error
    return {
        "version": str(version.number),
        "state": version.state.value,
        "status": {
            "error_code": error.code.name if error else "OK",
            "error_message": error.message if error else "",
        },
    }
