"""Call the runner's endpoints in tests as a runner would, without a network."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from django.db import connections

from runs.events import group_of_run
from runs.ingest.app import application
from runs.models import Process, ProcessGroup, Run
from runs.states import ProcessState, RunStatus
from tests.factories import make_group, make_run, process_token
from workspace.models import Team


@pytest.fixture
def database_threads(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let threads reach the test's database, and leave no connection of theirs behind."""
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)


def running(team: Team, *names: str, state: ProcessState = ProcessState.RUNNING) -> ProcessGroup:
    """Make a run with a group of processes that runners may report for."""
    run: Run = make_run(team, status=RunStatus.RUNNING)
    group = make_group(run, *names, state=state)
    group.channel = group_of_run(run.pk)
    group.save()
    return (
        ProcessGroup.objects.select_related("run", "team")
        .prefetch_related("processes")
        .get(pk=group.pk)
    )


def process_of(group: ProcessGroup, name: str = "worker-0") -> Process:
    return next(process for process in group.processes.all() if process.name == name)


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    """Wait for a condition; one that does not come true fails the test."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.02)


class Runner:
    """A client with the token of one process."""

    def __init__(self, process: Process, token: str = "") -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(application),
            base_url="http://trainyard",
            headers={"Authorization": f"Bearer {token or process_token(process)}"},
        )

    async def post(self, path: str, **options: Any) -> httpx.Response:
        return await self._client.post(f"/runner/v1/{path}", **options)

    async def put(self, path: str, **options: Any) -> httpx.Response:
        return await self._client.put(f"/runner/v1/{path}", **options)

    async def get(self, path: str) -> httpx.Response:
        return await self._client.get(f"/runner/v1/{path}")
