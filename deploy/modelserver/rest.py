"""TensorFlow Serving's REST paths: which request means what, and the answer to it."""

import logging
import re
import zlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from .core import Core
from .errors import Code, ServingError, invalid
from .messages import CORS_HEADERS, MAX_BODY, Reply, Request, Response
from .predict_request import Form, read_document, read_inputs
from .predict_response import write_results
from .signatures import Signature, find_signature
from .tensors import Array
from .versions import MAX_VERSION, Servable, Version

log = logging.getLogger("modelserver")

# Larger bodies take longer to parse than to hand to a thread.
INLINE_BODY = 16 * 1024

_TARGET = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_TARGET}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_LOOK = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_TARGET}(?P<metadata>/metadata)?", re.IGNORECASE
)
_NOT_FOUND_PAGE = b"<html><head><title>404 Not Found</title></head><body>Not Found</body></html>"


@dataclass(frozen=True, slots=True)
class Route:
    """What a method and path ask for."""

    action: str
    name: str = ""
    version: int | None = None
    label: str | None = None


@lru_cache(maxsize=1024)
def find_route(method: str, target: str) -> Route:
    """Read a request line; a path that means nothing is an INVALID_ARGUMENT, as in the original."""
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
    return Route(action, name, int(version) if version else None, label)


class RestApi:
    """Answers requests; called on the event loop, replies there."""

    def __init__(
        self,
        core: Core,
        workers: Executor,
        call_soon_threadsafe: Callable[..., Any],
        *,
        allow_cors: bool = False,
    ) -> None:
        self._core = core
        self._workers = workers
        self._call_soon = call_soon_threadsafe
        self._headers = CORS_HEADERS if allow_cors else b""

    def __call__(self, request: Request, reply: Reply) -> None:
        try:
            self._answer(request, reply)
        except ServingError as error:
            reply(self._error(error))
        except Exception:
            log.exception("%s %s failed", request.method, request.target)
            reply(self._error(ServingError(Code.INTERNAL, "Internal error; see the log")))

    def _answer(self, request: Request, reply: Reply) -> None:
        target = request.target
        if target[:4].lower() != "/v1/":
            reply(self._outside(target.partition("?")[0]))
        elif request.method == "OPTIONS":
            known = request.origin.startswith(("http://", "https://"))
            reply(Response(200 if known else 400, b"", headers=self._headers))
        else:
            route = find_route(request.method, target)
            if route.action == "predict":
                self._predict(route, request, reply)
            elif route.action == "status":
                reply(self._json(self._status(route)))
            elif route.action == "metadata":
                reply(self._json(self._metadata(route)))
            else:
                raise ServingError(
                    Code.UNIMPLEMENTED,
                    f"':{route.action}' is not supported yet by this server; use ':predict'",
                )

    def _outside(self, path: str) -> Response:
        if path == "/healthz":
            return self._json({"status": "ok"})
        if path == "/readyz":
            waiting = self._core.waiting()
            if waiting:
                message = f"No version of {', '.join(waiting)} is available"
                return self._error(ServingError(Code.UNAVAILABLE, message))
            return self._json({"status": "ready"})
        return Response(404, _NOT_FOUND_PAGE, b"text/html")

    def _find(self, route: Route) -> Version:
        return self._core.find(route.name, route.version, route.label)

    def _status(self, route: Route) -> dict[str, Any]:
        versions = self._core.statuses(route.name, route.version)
        return {"model_version_status": [_version_status(version) for version in versions]}

    def _metadata(self, route: Route) -> dict[str, Any]:
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

    def _predict(self, route: Route, request: Request, reply: Reply) -> None:
        # The body is read before the model is looked for: its errors come first.
        version: Version | None = None
        missing: ServingError | None = None
        try:
            version = self._find(route)
            servable = version.hold()
        except ServingError as error:
            missing, servable = error, None
        prediction = Prediction(request, servable, missing)

        def finish(response: Response) -> None:
            if version is not None:
                version.release()
            reply(response)

        if len(request.body) > INLINE_BODY or request.is_gzip:
            self._workers.submit(self._in_thread, prediction, finish)
            return
        try:
            signature = prediction.prepare()
        except ServingError as error:
            finish(self._error(error))
            return
        except BaseException:
            if version is not None:
                version.release()
            raise
        if signature.is_quick:
            finish(self._outcome(prediction, in_place=True))
        else:
            self._workers.submit(self._in_thread, prediction, finish)

    def _in_thread(self, prediction: "Prediction", finish: Reply) -> None:
        self._call_soon(finish, self._outcome(prediction))

    def _outcome(self, prediction: "Prediction", *, in_place: bool = False) -> Response:
        try:
            return Response(200, prediction.result(in_place=in_place), headers=self._headers)
        except ServingError as error:
            return self._error(error)
        except MemoryError:
            message = "Not enough memory for this request; send fewer values at a time"
            return self._error(ServingError(Code.RESOURCE_EXHAUSTED, message))
        except Exception as error:
            log.exception("A prediction failed")
            return self._error(ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}"))

    def _json(self, content: Any) -> Response:
        return Response(
            200, orjson.dumps(content, option=orjson.OPT_INDENT_2), headers=self._headers
        )

    def _error(self, error: ServingError) -> Response:
        return Response.of_error(error.http_status, error.message, headers=self._headers)


class Prediction:
    """One predict request, read in two steps so that each can run where it costs least."""

    __slots__ = ("_form", "_missing", "_request", "_servable", "_signature", "_tensors")

    def __init__(
        self, request: Request, servable: Servable | None, missing: ServingError | None
    ) -> None:
        self._request = request
        self._servable = servable
        self._missing = missing
        self._signature: Signature | None = None
        self._form = Form.ROW
        self._tensors: dict[str, Array] = {}

    def prepare(self) -> Signature:
        """Read the body into tensors."""
        body = inflate(self._request.body) if self._request.is_gzip else self._request.body
        document = read_document(body)
        asked = document.signature_name
        if self._servable is None:
            raise self._missing or invalid("No model")
        signature = find_signature(self._servable.signatures, asked)
        self._form, self._tensors = read_inputs(document, signature.inputs)
        self._signature = signature
        return signature

    def result(self, *, in_place: bool = False) -> bytes:
        """Run the model and write its answer."""
        signature = self._signature or self.prepare()
        return write_results(signature.run(self._tensors, in_place=in_place), self._form)


def inflate(body: bytes) -> bytes:
    """Return what a gzip body holds, but never more than a plain body might."""
    pieces: list[bytes] = []
    room = MAX_BODY
    while body:
        stream = zlib.decompressobj(wbits=31)
        try:
            piece = stream.decompress(body, room + 1)
        except zlib.error as error:
            raise invalid(f"The gzip body can't be inflated: {error}") from None
        room -= len(piece)
        if room < 0:
            raise BodyTooLarge
        if not stream.eof:
            raise invalid("The gzip body ends too early")
        pieces.append(piece)
        body = stream.unused_data
    return b"".join(pieces)


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


def _decoded(part: str) -> str:
    return unquote_to_bytes(part).decode("utf-8", "replace")


def _version_status(version: Version) -> dict[str, Any]:
    error = version.error
    return {
        "version": str(version.number),
        "state": version.state.value,
        "status": {
            "error_code": error.code.name if error else "OK",
            "error_message": error.message if error else "",
        },
    }
