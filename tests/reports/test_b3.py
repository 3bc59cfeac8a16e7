"""Report B3: the outputs of a run are what ./outputs holds when its program has ended."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient

from runs.files.quota import quota_owner, reserve
from runs.models import ProcessGroup, RunFile
from tests.factories import bearer
from tests.runner.conftest import web, yard
from tests.runner.stage import Group, one
from tests.runner.web import FakeServer, Trouble, until
from tests.runs.ingest.runner_calls import Runner, database_threads, process_of, running
from workspace.models import Team
from workspace.platform.errors import TooLarge

__all__ = ["database_threads", "web", "yard"]
CHECKPOINTS = [f"outputs/ckpt/ckpt-{number}.index" for number in range(1, 9)]


@pytest.fixture
def group(database_threads: None, team: Team) -> ProcessGroup:
    return running(team, "worker-0", "worker-1")


async def send(group: ProcessGroup, path: str, text: bytes = b"x", by: str = "worker-0") -> int:
    query = f"path={path}&size={len(text)}&sha256={hashlib.sha256(text).hexdigest()}"
    answer = await Runner(process_of(group, by)).put(f"output?{query}", content=text)
    return answer.status_code


async def remove(group: ProcessGroup, paths: list[Any], by: str = "worker-0") -> int:
    runner = Runner(process_of(group, by))
    text = json.dumps({"files": [], "removed": paths})
    answer = await runner.post("outputs", content=text)
    return answer.status_code


async def listed(group: ProcessGroup, by: User) -> list[str]:
    headers = await sync_to_async(bearer)(by)
    assert group.run is not None
    answer = await AsyncClient().get(
        f"/api/v1/teams/default/runs/{group.run.number}/files", headers=headers
    )
    return [file["path"] for file in answer.json()["files"]]


async def test_b3_what_the_script_removed_is_no_output(
    group: ProcessGroup, home: Path, bob: User
) -> None:
    for path in [*CHECKPOINTS, "outputs/model/workertemp_1/saved_model.pb"]:
        assert await send(group, path) == 200
    gone = [*CHECKPOINTS[:6], "outputs/model/workertemp_1/saved_model.pb"]
    for _ in range(2):
        assert await remove(group, gone) == 200
    assert await listed(group, bob) == CHECKPOINTS[6:]
    here = home / "runs" / str(group.run_id) / "outputs"
    assert sorted(path.name for path in here.rglob("*")) == ["ckpt", "ckpt-7.index", "ckpt-8.index"]


async def test_b3_what_was_removed_counts_for_nothing(
    group: ProcessGroup, home: Path, settings: Any
) -> None:
    settings.TRAINYARD_RUN_MAX_BYTES = 1000
    assert await send(group, "outputs/a", b"x" * 900) == 200
    assert await send(group, "outputs/b", b"y" * 900) == 413
    assert await remove(group, ["outputs/a"]) == 200
    assert await send(group, "outputs/b", b"y" * 900) == 200
    owner = await sync_to_async(quota_owner)(group)
    with pytest.raises(TooLarge):
        await sync_to_async(reserve)(owner, 200)


async def test_b3_a_process_removes_only_what_it_sent(
    group: ProcessGroup, home: Path, bob: User
) -> None:
    await send(group, "outputs/of-0")
    await send(group, "outputs/of-1", by="worker-1")
    assert await remove(group, ["outputs/of-0", "outputs/of-1"], by="worker-1") == 200
    assert await listed(group, bob) == ["outputs/of-0"]
    odd = ["outputs/../x", "/etc/passwd", "outputs", "", "outputs/a\\b", "\udcff", "logs/x", "a\0b"]
    assert await remove(group, odd) == 200
    assert await remove(group, [7]) == 400
    assert await RunFile.objects.acount() == 1


def waits_for(name: str) -> str:
    return f"while not os.path.exists({name!r}): time.sleep(0.01)"


def tell(group: Group, name: str) -> None:
    (group.folder() / "work" / name).touch()


@pytest.mark.processes
def test_b3_a_runner_tells_at_the_end_what_is_gone(yard: Path, web: FakeServer) -> None:
    script = f"""
import os, shutil, time
os.makedirs("outputs/temp")
open("outputs/temp/saved_model.pb", "w").write("not yet")
open("outputs/kept", "w").write("kept")
{waits_for("sent")}
shutil.rmtree("outputs/temp")
open("outputs/model", "w").write("a model")
raise SystemExit(3)
"""
    group, told = one(yard, web, script)
    until(lambda: len(told.outputs) == 2)
    tell(group, "sent")
    group.until_collected()
    assert told.outputs == {"outputs/kept": b"kept", "outputs/model": b"a model"}


@pytest.mark.processes
def test_b3_a_run_that_was_killed_keeps_what_had_been_sent(yard: Path, web: FakeServer) -> None:
    script = f"""
import os, time
open("outputs/sent", "w").write("sent")
{waits_for("sent")}
os.remove("outputs/sent")
open("removed", "w")
time.sleep(60)
"""
    group, told = one(yard, web, script)
    until(lambda: told.outputs)
    tell(group, "sent")
    until(lambda: (group.folder() / "work" / "removed").exists())
    group.backend.kill(group.label)
    until(lambda: not group.backend.recover_outputs(group.label, ["worker-0"]))
    until(lambda: told.collected)
    assert told.outputs == {"outputs/sent": b"sent"}


@pytest.mark.processes
def test_b3_what_is_gone_makes_room_while_the_program_runs(yard: Path, web: FakeServer) -> None:
    script = f"""
import os, time
open("outputs/a", "w").write("a")
{waits_for("sent")}
os.remove("outputs/a")
open("outputs/b", "w").write("b")
{waits_for("over")}
"""
    group, told = one(yard, web, script)
    until(lambda: told.outputs)
    web.trouble = lambda token, what: (
        Trouble(413, "no room") if what == "output" and "outputs/a" in told.outputs else None
    )
    tell(group, "sent")
    until(lambda: told.outputs == {"outputs/b": b"b"})
    tell(group, "over")
    group.until_collected()
    assert told.uploads == ["outputs/a", "-outputs/a", "outputs/b"]
    assert b"not kept" not in told.log
