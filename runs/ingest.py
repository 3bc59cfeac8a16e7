"""The runner's endpoints: a bare ASGI application, for many small requests and large bodies.

What fails here for a while is answered with a 5xx, and the runner sends it again.
"""

import errno
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from runs import ingest_files, ingest_reports
from runs.files import Fenced
from runs.ingest_http import Disconnected, Receive, Refused, Request, Send, answer
from runs.ingest_state import State, state
from runs.processes import Caller
from workspace.errors import DomainError

PREFIX = "/runner/v1/"
Handler = Callable[[Request, State], Awaitable[dict[str, Any] | None]]
HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "spec"): ingest_reports.spec,
    ("GET", "source"): ingest_files.source,
    ("GET", "resume"): ingest_files.resume,
    ("POST", "ready"): ingest_reports.ready,
    ("POST", "beat"): ingest_reports.beat,
    ("POST", "started"): ingest_reports.started,
    ("POST", "log"): ingest_files.log,
    ("POST", "file"): ingest_files.file,
    ("POST", "outputs"): ingest_files.outputs,
    ("PUT", "output"): ingest_files.output,
    ("GET", "checkpoints"): ingest_files.checkpoints,
    ("PUT", "checkpoint"): ingest_files.checkpoint,
    ("POST", "checkpoints"): ingest_files.forget_checkpoints,
    ("POST", "exit"): ingest_reports.exited,
    ("POST", "collected"): ingest_reports.collected,
}
FENCED = "Another attempt has taken over; this process may write no more."
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
log = logging.getLogger(__name__)


async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    try:
        body = await _handle(scope, receive, send)
    except Disconnected:
        return
    except Refused as refused:
        await answer(send, refused.status, {"detail": refused.detail})
    except DomainError as error:
        await answer(send, error.status, {"detail": error.message})
    except Fenced:
        await answer(send, HTTPStatus.CONFLICT, {"detail": FENCED})
    except OSError as error:
        log.exception("A runner's request %s could not be stored", scope["path"])
        full = error.errno in DISK_FULL
        status = HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.SERVICE_UNAVAILABLE
        await answer(send, status, {"detail": error.strerror or "The store failed."})
    except Exception:
        log.exception("A runner's request %s failed", scope["path"])
        await answer(send, HTTPStatus.INTERNAL_SERVER_ERROR, {"detail": "The server failed."})
    else:
        if body is not None:
            await answer(send, HTTPStatus.OK, body)


async def _handle(
    scope: MutableMapping[str, Any], receive: Receive, send: Send
) -> dict[str, Any] | None:
    handler = HANDLERS.get((scope["method"], scope["path"].removeprefix(PREFIX)))
    if handler is None:
        raise Refused(HTTPStatus.NOT_FOUND, "There is no such endpoint for runners.")
    here = state()
    return await handler(Request(await _caller(scope, here), scope, receive, send), here)


async def _caller(scope: MutableMapping[str, Any], here: State) -> Caller:
    token = next(
        (value for name, value in scope["headers"] if name == b"authorization"), b""
    ).decode("latin-1")
    caller = None
    if token.startswith("Bearer "):
        caller = await here.roll.caller(token.removeprefix("Bearer ").strip())
    flags = await here.roll.flags(caller) if caller else None
    if caller is None or flags is None:
        raise Refused(HTTPStatus.UNAUTHORIZED, "This needs the token of a process.")
    if flags.is_fenced:
        raise Fenced
    return caller
