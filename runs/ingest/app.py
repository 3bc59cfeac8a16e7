"""The runner's endpoints: a bare ASGI application, for many small requests and large bodies.

What fails here for a while is answered with a 5xx, and the runner sends it again. What would fail
again is answered with a 4xx, and the runner goes on with the rest.
"""

import errno
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from runner.constants import UNUSABLE_NAME, URL_PREFIX
from runs.files.store import AttemptFenced
from runs.ingest import files, processes
from runs.ingest.http import (
    Receive,
    RunnerDisconnected,
    RunnerRequest,
    RunnerRequestRefused,
    Send,
    respond,
)
from runs.ingest.state import IngestState, state
from runs.ingest.token_cache import ProcessPrincipal
from workspace.platform.errors import DomainError

Handler = Callable[[RunnerRequest, IngestState], Awaitable[dict[str, Any] | None]]
HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "spec"): processes.spec,
    ("GET", "source"): files.source,
    ("GET", "resume"): files.resume,
    ("POST", "ready"): processes.ready,
    ("POST", "beat"): processes.heartbeat,
    ("POST", "started"): processes.started,
    ("POST", "log"): files.log,
    ("POST", "file"): files.file,
    ("POST", "outputs"): files.outputs,
    ("PUT", "output"): files.output,
    ("GET", "checkpoints"): files.checkpoints,
    ("PUT", "checkpoint"): files.checkpoint,
    ("POST", "checkpoints"): files.remove_checkpoints,
    ("POST", "exit"): processes.exited,
    ("POST", "collected"): processes.collected,
}
FENCED = "This attempt was replaced by a newer one and can no longer write."
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
log = logging.getLogger(__name__)


async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    try:
        body = await _handle(scope, receive, send)
    except RunnerDisconnected:
        return
    except RunnerRequestRefused as refused:
        await respond(send, refused.status, {"detail": refused.detail})
    except DomainError as error:
        # To a runner a 409 says that its attempt is over, which no trouble of its request does.
        is_conflict = error.status == HTTPStatus.CONFLICT
        status = HTTPStatus.BAD_REQUEST if is_conflict else error.status
        await respond(send, status, {"detail": error.message})
    except AttemptFenced:
        await respond(send, HTTPStatus.CONFLICT, {"detail": FENCED})
    except OSError as error:
        log.exception("A runner's request %s could not be stored", scope["path"])
        await respond(send, _status_of(error), {"detail": error.strerror or "Storing failed."})
    except Exception:
        log.exception("A runner's request %s failed", scope["path"])
        await respond(send, HTTPStatus.INTERNAL_SERVER_ERROR, {"detail": "The server failed."})
    else:
        if body is not None:
            await respond(send, HTTPStatus.OK, body)


def _status_of(error: OSError) -> HTTPStatus:
    if error.errno in UNUSABLE_NAME:
        return HTTPStatus.BAD_REQUEST
    if error.errno in DISK_FULL:
        return HTTPStatus.INSUFFICIENT_STORAGE
    return HTTPStatus.SERVICE_UNAVAILABLE


async def _handle(
    scope: MutableMapping[str, Any], receive: Receive, send: Send
) -> dict[str, Any] | None:
    handler = HANDLERS.get((scope["method"], scope["path"].removeprefix(URL_PREFIX)))
    if handler is None:
        raise RunnerRequestRefused(HTTPStatus.NOT_FOUND, "No such runner endpoint.")
    here = state()
    return await handler(RunnerRequest(await _principal(scope, here), scope, receive, send), here)


async def _principal(scope: MutableMapping[str, Any], here: IngestState) -> ProcessPrincipal:
    token = next(
        (value for name, value in scope["headers"] if name == b"authorization"), b""
    ).decode("latin-1")
    caller = None
    if token.startswith("Bearer "):
        caller = await here.tokens.principal(token.removeprefix("Bearer ").strip())
    flags = await here.tokens.flags(caller) if caller else None
    if caller is None or flags is None:
        raise RunnerRequestRefused(HTTPStatus.UNAUTHORIZED, "Requires the token of a process.")
    if flags.is_fenced:
        raise AttemptFenced
    return caller
