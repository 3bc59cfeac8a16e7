"""What a runner fetches and ships: the source, the log, files under logs/, outputs."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings

from runner.constants import MAX_CHUNK_BYTES, MAX_OFFERED_FILES, NOTE_PREFIX
from runs.files.quota import QuotaOwner, measure_again, reserve
from runs.files.store import (
    OUTPUTS,
    DeclaredFile,
    RefusedFile,
    append_log_file,
    missing_outputs,
    path_problem,
    remove_outputs,
    store_output,
)
from runs.ingest import checkpoints as kept
from runs.ingest.http import RunnerDisconnected, RunnerRequest, RunnerRequestRefused
from runs.ingest.source import outputs_tar, source_of
from runs.ingest.state import IngestState
from runs.ingest.token_cache import ProcessPrincipal
from runs.launch.run_secrets import mask_for
from runs.logs.log_file import log_of, rank_log
from runs.metrics.files import holds_metrics, is_event_file
from runs.metrics.ingestion import reset_cursor
from runs.models import Process
from runs.source.blobs import is_digest, temporary_file
from workspace.platform.database_threads import run_in_file_thread
from workspace.platform.errors import TooLarge

WRITE_SIZE = 1024 * 1024
LARGER_THAN_A_RUN = "it is larger than the files of a run may be (TRAINYARD_RUN_MAX_BYTES)"


async def source(request: RunnerRequest, here: IngestState) -> None:
    await _send_tar(request, await run_in_file_thread(_source, request.principal.process_id))


async def resume(request: RunnerRequest, here: IngestState) -> None:
    await _send_tar(request, await run_in_file_thread(_resume, request.principal.process_id))


async def _send_tar(request: RunnerRequest, pieces: Iterator[bytes]) -> None:
    piece: bytes | None = await run_in_file_thread(next, pieces, b"")
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
            piece = await run_in_file_thread(next, pieces, None)
    except Exception as error:
        # The answer has begun: leaving it unfinished is how the runner learns that it is not whole.
        raise RunnerDisconnected from error
    await request.send({"type": "http.response.body", "body": b""})


async def log(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    offset = request.number("offset")
    data = await request.body(MAX_CHUNK_BYTES)
    caller = request.principal
    name = rank_log(request.number("rank")) if request.has("rank") else caller.name
    if name != caller.name and name not in caller.ranks:
        raise RunnerRequestRefused(HTTPStatus.BAD_REQUEST, f"The run has no {name}.")
    answer = await asyncio.to_thread(
        _append_to_log, caller, name, offset, data, is_final=request.flag("end")
    )
    here.log_grew(caller)
    return answer


def _append_to_log(
    caller: ProcessPrincipal, name: str, offset: int, data: bytes, *, is_final: bool
) -> dict[str, Any]:
    """Append to a log, or end it with a line where it would take the run beyond its limit."""
    log = log_of(caller.label, name)
    if not log.is_closed():
        try:
            _reserve_for_log(caller.owner, log.growth(offset, data))
            mask = mask_for(caller.encrypted_secrets)
            return {"size": log.append(offset, data, mask, is_final=is_final)}
        except TooLarge as full:
            log.close(f"{NOTE_PREFIX}The rest of this log is not kept. {full.message}")
    log.note_growth()
    return {"size": offset + len(data), "full": True}


def _reserve_for_log(owner: QuotaOwner, size: int) -> None:
    """Reserve room for a log, which is closed for good only after a look at what is there."""
    try:
        reserve(owner, size)
    except TooLarge:
        measure_again(owner)
        reserve(owner, size)


async def file(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    path, offset = request.text("path"), request.number("offset")
    restarts, is_final = request.flag("restart"), request.flag("end")
    data = await request.body(MAX_CHUNK_BYTES)
    caller = request.principal
    size = await run_in_file_thread(_append, caller, path, offset, data, restarts, is_final)
    if caller.run_id is not None and holds_metrics(path):
        here.metrics_grew(caller.run_id)
    return {"size": size}


async def outputs(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    body = await request.json()
    files = body.get("files")
    if not isinstance(files, list) or len(files) > MAX_OFFERED_FILES:
        raise RunnerRequestRefused(
            HTTPStatus.BAD_REQUEST, f"files should be a list of at most {MAX_OFFERED_FILES:,}."
        )
    if "removed" in body:
        removed = _paths_in(body["removed"])
        await run_in_file_thread(_remove_outputs, request.principal.process_id, removed)
    judged = [_judged(entry) for entry in files]
    kept = [entry for entry in judged if isinstance(entry, DeclaredFile)]
    return {
        "missing": await run_in_file_thread(_missing, request.principal.process_id, kept),
        "refused": [asdict(entry) for entry in judged if isinstance(entry, RefusedFile)],
    }


async def output(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    async with _arrived(request, here) as (announced, place):
        is_kept = await run_in_file_thread(_keep, request.principal.process_id, announced, place)
    return {"stored": is_kept}


async def checkpoints(request: RunnerRequest, here: IngestState) -> None:
    await _send_tar(request, await run_in_file_thread(_checkpoints, request.principal.process_id))


async def checkpoint(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    async with _arrived(request, here) as (announced, place):
        await run_in_file_thread(_store_checkpoint, request.principal.process_id, announced, place)
    return {"stored": True}


async def remove_checkpoints(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    removed = _paths_in((await request.json()).get("removed"))
    await run_in_file_thread(_remove_checkpoints, request.principal.process_id, removed)
    return {}


@asynccontextmanager
async def _arrived(
    request: RunnerRequest, here: IngestState
) -> AsyncIterator[tuple[DeclaredFile, Path]]:
    """Yield a file that is sent as it was announced, and where its bytes lie meanwhile."""
    announced = DeclaredFile(request.text("path"), request.number("size"), request.text("sha256"))
    if not is_digest(announced.digest):
        raise RunnerRequestRefused(
            HTTPStatus.BAD_REQUEST, "sha256 should be 64 hexadecimal digits."
        )
    if announced.size > settings.TRAINYARD_RUN_MAX_BYTES:
        raise RunnerRequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, LARGER_THAN_A_RUN)
    with temporary_file() as (place, incoming):
        digest = await _receive(request, here, incoming, announced.size)
        if digest != announced.digest:
            raise RunnerRequestRefused(
                HTTPStatus.BAD_REQUEST, f"The bytes have the digest {digest}: send them again."
            )
        yield announced, place
        if announced.size >= WRITE_SIZE:
            await run_in_file_thread(_note_stored, request.principal.process_id)


async def _receive(request: RunnerRequest, here: IngestState, incoming: BinaryIO, size: int) -> str:
    """Write the body to a file, away from the event loop; return its digest."""
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
            if here.is_upload_write_due(request.principal):
                await run_in_file_thread(_note_upload, request.principal.process_id, received)
    if received != size:
        raise RunnerRequestRefused(
            HTTPStatus.BAD_REQUEST, f"{received} bytes arrived, {size} were announced."
        )

    def finish() -> None:
        write(held)
        incoming.flush()
        # Here already: later the database is locked, and a large file takes a while.
        os.fsync(incoming.fileno())

    await asyncio.to_thread(finish)
    return digester.hexdigest()


def _paths_in(removed: object) -> list[str]:
    if not isinstance(removed, list) or not all(isinstance(path, str) for path in removed):
        raise RunnerRequestRefused(HTTPStatus.BAD_REQUEST, "removed should be a list of paths.")
    return removed


def _judged(entry: object) -> DeclaredFile | RefusedFile:
    """Read one file of a list; what is wrong with it says nothing of the others."""
    fields = entry if isinstance(entry, dict) else {}
    path, size, digest = fields.get("path"), fields.get("size"), fields.get("sha256")
    if not isinstance(path, str):
        return RefusedFile("", "path should be text")
    if type(size) is not int or size < 0:
        return RefusedFile(path, "size should be a whole number from 0 up")
    if size > settings.TRAINYARD_RUN_MAX_BYTES:
        return RefusedFile(path, LARGER_THAN_A_RUN)
    if not isinstance(digest, str) or not is_digest(digest):
        return RefusedFile(path, "sha256 should be 64 hexadecimal digits")
    if problem := path_problem(path, OUTPUTS):
        return RefusedFile(path, problem)
    return DeclaredFile(path, size, digest)


def _process(process_id: int) -> Process:
    return Process.objects.select_related("group__run__team", "group__run__snapshot").get(
        pk=process_id
    )


def _note_upload(process_id: int, received: int) -> None:
    """Store how much of a file has come, unless an earlier try brought more of it."""
    grown = Process.objects.filter(pk=process_id, uploaded_bytes__lt=received)
    grown.update(uploaded_bytes=received)


def _note_stored(process_id: int) -> None:
    Process.objects.filter(pk=process_id, uploaded_bytes__gt=0).update(uploaded_bytes=0)


def _source(process_id: int) -> Iterator[bytes]:
    return source_of(_process(process_id))


def _resume(process_id: int) -> Iterator[bytes]:
    return outputs_tar(_process(process_id))


def _checkpoints(process_id: int) -> Iterator[bytes]:
    return kept.tar_for(_process(process_id))


def _store_checkpoint(process_id: int, announced: DeclaredFile, content: Path) -> None:
    kept.store(_process(process_id), announced, content)


def _remove_checkpoints(process_id: int, paths: list[str]) -> None:
    kept.remove(_process(process_id), paths)


def _append(
    caller: ProcessPrincipal,
    path: str,
    offset: int,
    data: bytes,
    restarts: bool,
    is_final: bool,
) -> int:
    if restarts and caller.run_id is not None and holds_metrics(path):
        reset_cursor(caller.run_id, caller.label, caller.name, path)
    # The records of event files carry checksums.
    mask = None if is_event_file(path) else mask_for(caller.encrypted_secrets)
    return append_log_file(
        caller.owner,
        caller.name,
        path,
        offset,
        data,
        mask,
        restarts=restarts,
        is_final=is_final,
    )


def _missing(process_id: int, announced: list[DeclaredFile]) -> list[str]:
    return missing_outputs(_process(process_id), announced)


def _remove_outputs(process_id: int, paths: list[str]) -> None:
    remove_outputs(_process(process_id), paths)


def _keep(process_id: int, announced: DeclaredFile, content: Path) -> bool:
    return store_output(_process(process_id), announced, content)
