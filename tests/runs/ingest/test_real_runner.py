"""A real runner and the real endpoints: what one odd name, or too many bytes, cost a run."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn
from pytest_django import Settings

from runs.files.store import outputs_of
from runs.ingest.app import application
from runs.logs.log_file import log_of
from runs.metrics.ingestion import finish_metrics
from runs.models import MetricChunk, Process, ProcessGroup, Run
from tests.factories import process_token
from tests.runner.stage import ENVIRONMENT, make_environment, python
from tests.runs.ingest.runner_calls import database_threads, process_of, running, until
from workspace.compute.access import TargetAccess
from workspace.compute.base import GroupPlan, ProcessPlan
from workspace.compute.local.backend import LocalBackend
from workspace.models import Team
from workspace.platform.database_threads import run_in_database_thread

__all__ = ["database_threads"]
pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("database_threads")]
WRITES_AN_ODD_NAME = r"""
import json, os, time
open("outputs/figs\\loss.png", "w").write("a picture")
open("outputs/model.txt", "w").write("a model")
open("logs/two\nlines", "w").write("odd")
with open("logs/metrics.jsonl", "w", buffering=1) as metrics:
    for step in range(20):
        metrics.write(json.dumps({"step": step, "loss": 1 / (step + 1)}) + "\n")
        time.sleep(0.1)
"""
WRITES_TOO_MUCH = """
import os
for _ in range(300):
    os.write(1, b"x" * 9_999 + b"\\n")
open("outputs/model.txt", "w").write("a model")
open("outputs/huge", "w").write("x" * 3_000_000)
"""


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    return running(team, "worker-0")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(application, port=0, lifespan="off", log_config=None))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve([listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await asyncio.wait_for(task, 10)


async def run_to_its_end(group: ProcessGroup, home: Path, url: str, script: str) -> Process:
    """Run a script under a runner of this machine, until all is said to be collected."""
    process = process_of(group)
    launch = {"command": python(script), "environment": {}, "outputs": True}
    await Process.objects.filter(pk=process.pk).aupdate(launch=launch)
    make_environment(home)
    backend = LocalBackend(TargetAccess(home=str(home)))
    settings = {"TRAINYARD_URL": url, "TRAINYARD_PROCESS_TOKEN": process_token(process)}
    plan = GroupPlan(group.label, ENVIRONMENT, (ProcessPlan("worker", 0, settings),))
    await asyncio.to_thread(backend.start, plan)

    async def is_collected() -> bool:
        return await Process.objects.filter(pk=process.pk, collected_at__isnull=False).aexists()

    try:
        await until(is_collected)
    finally:
        await asyncio.to_thread(backend.remove, group.label)
    return await Process.objects.aget(pk=process.pk)


def log_text(group: ProcessGroup) -> str:
    return log_of(group.label, "worker-0").read(0, 10_000_000).decode()


async def names_of_outputs(group: ProcessGroup) -> list[str]:
    run = await Run.objects.aget(attempts=group)
    held = await run_in_database_thread(outputs_of, run)
    return [file.path for file in held]


async def test_one_odd_name_costs_a_run_nothing_but_its_file(
    group: ProcessGroup, home: Path, url: str
) -> None:
    process = await run_to_its_end(group, home, url, WRITES_AN_ODD_NAME)
    assert process.exit_code == 0
    assert await names_of_outputs(group) == ["outputs/model.txt"]
    await run_in_database_thread(finish_metrics, group.pk)
    counts = [count async for count in MetricChunk.objects.values_list("count", flat=True)]
    assert sum(counts) == 20
    log = log_text(group)
    assert r"outputs/figs\loss.png was not kept: it has a backslash" in log
    assert r"logs/two\nlines was not kept: The path logs/two\x0alines can't be used" in log


async def test_a_program_that_prints_and_writes_too_much_is_unharmed(
    group: ProcessGroup, home: Path, url: str, settings: Settings
) -> None:
    settings.TRAINYARD_RUN_MAX_BYTES = 2_000_000
    process = await run_to_its_end(group, home, url, WRITES_TOO_MUCH)
    assert process.exit_code == 0
    log = log_text(group)
    assert "The rest of this log is not kept." in log
    assert len(log) < 2_001_000
    assert "outputs/huge" not in await names_of_outputs(group)
