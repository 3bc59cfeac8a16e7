"""What a runner fetches and ships: the source, the log, files under logs/, outputs."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings

from runs import checkpoints as kept
from runs.blobs import is_digest, temporary_file
from runs.files import Announced, append_log_file, missing_outputs, store_output
from runs.ingest_http import Disconnected, Refused, Request
from runs.ingest_state import State
from runs.logs import log_of, rank_log
from runs.metrics_files import holds_metrics
from runs.metrics_jobs import rewind
from runs.models import Process
from runs.processes import Caller, in_database, source_of
from runs.resuming import outputs_tar

MAX_CHUNK = 8 * 1024 * 1024
MAX_ANNOUNCED = 20_000
WRITE_SIZE = 1024 * 1024


async def source(request: Request, here: State) -> None:
    await _send_tar(request, await in_database(_source, request.caller.process_id))


async def resume(request: Request, here: State) -> None:
    await _send_tar(request, await in_database(_resume, request.caller.process_id))


async def _send_tar(request: Request, pieces: Iterator[bytes]) -> None:
    piece: bytes | None = await in_database(next, pieces, b"")
    await request.send(
        {
            "type": "http.response.start",
            "status": HTTPStatus.OK.value,
            "headers": [(b"content-type", b"application/x-tar")],
        }
    )
    try:
        while piece is not None:
            await request.send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await in_database(next, pieces, None)
    except Exception as error:
        # The answer has begun: leaving it unfinished is how the runner learns that it is not whole.
        raise Disconnected from error
    await request.send({"type": "http.response.body", "body": b""})


async def log(request: Request, here: State) -> dict[str, Any]:
    offset = request.number("offset")
    data = await request.body(MAX_CHUNK)
    caller = request.caller
    name = rank_log(request.number("rank")) if request.has("rank") else caller.name
    size = await asyncio.to_thread(log_of(caller.label, name).append, offset, data)
    here.log_grew(caller)
    return {"size": size}


async def file(request: Request, here: State) -> dict[str, Any]:
    path, offset = request.text("path"), request.number("offset")
    restarts = request.flag("restart")
    data = await request.body(MAX_CHUNK)
    caller = request.caller
    size = await in_database(_append, caller, path, offset, data, restarts)
    if caller.run_id is not None and holds_metrics(path):
        here.metrics_grew(caller.run_id)
    return {"size": size}


async def outputs(request: Request, here: State) -> dict[str, Any]:
    body = await request.json()
    files = body.get("files")
    if not isinstance(files, list) or len(files) > MAX_ANNOUNCED:
        raise Refused(
            HTTPStatus.BAD_REQUEST, f"files should be a list of at most {MAX_ANNOUNCED:,}."
        )
    announced = [_announced(entry) for entry in files]
    return {"missing": await in_database(_missing, request.caller.process_id, announced)}


async def output(request: Request, here: State) -> dict[str, Any]:
    async with _arrived(request) as (announced, place):
        is_kept = await in_database(_keep, request.caller.process_id, announced, place)
    return {"stored": is_kept}


async def checkpoints(request: Request, here: State) -> None:
    await _send_tar(request, await in_database(_checkpoints, request.caller.process_id))


async def checkpoint(request: Request, here: State) -> dict[str, Any]:
    async with _arrived(request) as (announced, place):
        await in_database(_keep_checkpoint, request.caller.process_id, announced, place)
    return {"stored": True}


async def forget_checkpoints(request: Request, here: State) -> dict[str, Any]:
    removed = (await request.json()).get("removed")
    if not isinstance(removed, list) or not all(isinstance(path, str) for path in removed):
        raise Refused(HTTPStatus.BAD_REQUEST, "removed should be a list of paths.")
    await in_database(_forget_checkpoints, request.caller.process_id, removed)
    return {}


@asynccontextmanager
async def _arrived(request: Request) -> AsyncIterator[tuple[Announced, Path]]:
    """Give a file that is sent as it was announced, and where its bytes lie meanwhile."""
    announced = Announced(request.text("path"), request.number("size"), request.text("sha256"))
    if not is_digest(announced.digest):
        raise Refused(HTTPStatus.BAD_REQUEST, "sha256 should be 64 hexadecimal digits.")
    if announced.size > settings.TRAINYARD_RUN_MAX_BYTES:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The file is larger than a run may be.")
    with temporary_file() as (place, incoming):
        digest = await _receive(request, incoming, announced.size)
        if digest != announced.digest:
            raise Refused(
                HTTPStatus.BAD_REQUEST, f"The bytes have the digest {digest}: send them again."
            )
        yield announced, place


async def _receive(request: Request, incoming: BinaryIO, size: int) -> str:
    """Write the body to a file, away from the event loop; give its digest."""
    digester = hashlib.sha256()
    held: list[bytes] = []
    waiting = received = 0

    def write(pieces: list[bytes]) -> None:
        for piece in pieces:
            digester.update(piece)
            incoming.write(piece)

    async for piece in request.pieces(size):
        held.append(piece)
        waiting += len(piece)
        received += len(piece)
        if waiting >= WRITE_SIZE:
            await asyncio.to_thread(write, held)
            held, waiting = [], 0
    if received != size:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{received} bytes came, {size} were announced.")
    write(held)
    incoming.flush()
    return digester.hexdigest()


def _announced(entry: object) -> Announced:
    if isinstance(entry, dict):
        path, size, digest = entry.get("path"), entry.get("size"), entry.get("sha256")
        if (
            isinstance(path, str)
            and isinstance(size, int)
            and isinstance(digest, str)
            and is_digest(digest)
        ):
            return Announced(path, size, digest)
    raise Refused(HTTPStatus.BAD_REQUEST, "Each of files needs path, size and sha256.")


def _process(process_id: int) -> Process:
    return Process.objects.select_related("group__run__team", "group__run__snapshot").get(
        pk=process_id
    )


def _source(process_id: int) -> Iterator[bytes]:
    return source_of(_process(process_id))


def _resume(process_id: int) -> Iterator[bytes]:
    return outputs_tar(_process(process_id))


def _checkpoints(process_id: int) -> Iterator[bytes]:
    return kept.tar_for(_process(process_id))


def _keep_checkpoint(process_id: int, announced: Announced, content: Path) -> None:
    kept.store(_process(process_id), announced, content)


def _forget_checkpoints(process_id: int, paths: list[str]) -> None:
    kept.remove(_process(process_id), paths)


def _append(caller: Caller, path: str, offset: int, data: bytes, restarts: bool) -> int:
    if restarts and caller.run_id is not None and holds_metrics(path):
        rewind(caller.run_id, caller.label, caller.name, path)
    return append_log_file(caller.label, caller.name, path, offset, data, restarts=restarts)


def _missing(process_id: int, announced: list[Announced]) -> list[str]:
    return missing_outputs(_process(process_id), announced)


def _keep(process_id: int, announced: Announced, content: Path) -> bool:
    return store_output(_process(process_id), announced, content)
