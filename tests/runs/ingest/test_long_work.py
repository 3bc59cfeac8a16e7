"""What runners wait for while the files of others are read whole, or written to the disk."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async

from runs.ingest import processes
from runs.ingest.source import register_source
from runs.logs.log_file import folder_of
from runs.models import Process, ProcessGroup
from tests.runs.ingest.runner_calls import Runner, database_threads, process_of, running, until
from workspace.models import Team

__all__ = ["database_threads"]
pytestmark = pytest.mark.usefixtures("database_threads")
REPLICAS = 40
WAIT_SECONDS = 60


@pytest.fixture
def group(database_threads: None, team: Team) -> ProcessGroup:
    return running(team, "worker-0")


async def test_heartbeats_do_not_wait_for_models_that_are_hashed(group: ProcessGroup) -> None:
    began, may_end = threading.Event(), threading.Event()

    def hash_model(process: Process) -> Iterator[bytes]:
        began.set()
        assert may_end.wait(WAIT_SECONDS)
        yield b"model"

    register_source("long", hash_model)
    await sync_to_async(Process.objects.update)(launch={"source": "long"})
    runner = Runner(process_of(group))
    fetches = [asyncio.create_task(runner.get("source")) for _ in range(REPLICAS)]
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            assert await asyncio.to_thread(began.wait)
            beat = await runner.post("beat", json={"state": "running"})
            assert beat.status_code == 200
            assert (await runner.post("exit", json={"exit_code": 0})).status_code == 200
            assert (await runner.post("log?offset=0", content=b"one\n")).json() == {"size": 4}
    finally:
        may_end.set()
    assert {(await fetch).content for fetch in fetches} == {b"model"}


async def test_logs_do_not_wait_for_disks_that_write_down_what_ended_processes_sent(
    group: ProcessGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()
    waiting: list[str] = []

    def sync_slowly(folder: Path) -> None:
        assert may_end.wait(WAIT_SECONDS)

    def folder_to_sync(label: str) -> Path:
        waiting.append(label)
        return folder_of(label)

    async def all_wait() -> bool:
        return len(waiting) == REPLICAS

    monkeypatch.setattr(processes, "sync_filesystem", sync_slowly)
    monkeypatch.setattr(processes, "folder_of", folder_to_sync)
    runner = Runner(process_of(group))
    endings = [asyncio.create_task(runner.post("collected", json={})) for _ in range(REPLICAS)]
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await until(all_wait)
            assert (await runner.post("log?offset=0", content=b"one\n")).json() == {"size": 4}
            beat = await runner.post("beat", json={"state": "running"})
            assert beat.status_code == 200
    finally:
        may_end.set()
    assert {(await ending).status_code for ending in endings} == {200}
