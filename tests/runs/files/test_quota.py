"""Every byte that is kept of a run counts, whichever way it comes."""

import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from pytest_django import Settings

from runs.config import RunConfig
from runs.distribution import Distribution, Mode
from runs.files import quota
from runs.files.folders import files_below, logs_folder
from runs.logs.log_file import folder_of, log_of
from runs.models import Process, ProcessGroup, Run
from tests.factories import make_group
from tests.runs.ingest.runner_calls import Runner, database_threads, process_of, running
from workspace.models import ComputeTarget, Team

__all__ = ["database_threads"]
pytestmark = pytest.mark.usefixtures("database_threads")
MOST = 100_000
Send = Callable[[Process, str, int], Awaitable[httpx.Response]]


@pytest.fixture
def group(team: Team, settings: Settings) -> ProcessGroup:
    settings.TRAINYARD_RUN_MAX_BYTES = MOST
    group = running(team, "worker-0", "worker-1")
    config = RunConfig(
        experiment="digits",
        entry_script="train.py",
        node_count=2,
        distributed_training=Distribution(type=Mode.MPI),
    )
    Run.objects.update(config=config.to_json())
    ComputeTarget.objects.update(kind="swarm")
    return group


async def whole(process: Process, endpoint: str, path: str, size: int) -> httpx.Response:
    content = b"x" * size
    query = {"path": path, "size": size, "sha256": hashlib.sha256(content).hexdigest()}
    return await Runner(process).put(endpoint, params=query, content=content)


async def send_output(process: Process, name: str, size: int) -> httpx.Response:
    return await whole(process, "output", f"outputs/{name}", size)


async def send_checkpoint(process: Process, name: str, size: int) -> httpx.Response:
    return await whole(process, "checkpoint", f"checkpoints/{name}", size)


async def send_log_file(process: Process, name: str, size: int) -> httpx.Response:
    query = {"path": f"logs/{name}", "offset": 0}
    return await Runner(process).post("file", params=query, content=b"x" * size)


async def send_log(process: Process, name: str, size: int) -> httpx.Response:
    return await Runner(process).post("log", params={"offset": 0}, content=b"x" * size)


async def send_rank_log(process: Process, name: str, size: int) -> httpx.Response:
    return await Runner(process).post("log", params={"offset": 0, "rank": 1}, content=b"x" * size)


FILES = [send_output, send_checkpoint, send_log_file]
LOGS = [send_log, send_rank_log]


def kept(home: Path) -> int:
    return sum(
        status.st_size
        for folder in (home / "runs", home / "groups")
        for _, _, status in files_below(folder)
    )


@pytest.mark.parametrize("first", [*FILES, *LOGS])
@pytest.mark.slow
async def test_whatever_fills_it_no_file_comes_after(
    group: ProcessGroup, home: Path, first: Send
) -> None:
    process = process_of(group)
    assert (await first(process, "a", 60_000)).status_code == 200
    for then in FILES:
        refused = await then(process, "b", 60_000)
        assert refused.status_code == 413
        assert "TRAINYARD_RUN_MAX_BYTES" in refused.json()["detail"]
    for then in FILES:
        assert (await then(process, "b", 10_000)).status_code == 200
    assert kept(home) < MOST


@pytest.mark.parametrize("first", FILES)
async def test_whatever_fills_it_a_log_ends_with_a_line_that_says_so(
    group: ProcessGroup, home: Path, first: Send
) -> None:
    process = process_of(group)
    assert (await first(process, "a", 50_000)).status_code == 200
    for then, name in ((send_log, "worker-0"), (send_rank_log, "rank-1")):
        assert (await then(process, "", 20_000)).json() == {"size": 20_000}
        assert (await then(process, "", 60_000)).json() == {"size": 60_000, "full": True}
        assert (await then(process, "", 0)).json() == {"size": 0, "full": True}
        end = log_of(group.label, name).read(20_000, 1000).decode()
        assert end.startswith("\n[trainyard] The rest of this log is not kept.")
        assert end.count("\n") == 2
    assert kept(home) < MOST


async def test_the_attempts_of_a_run_count_together(group: ProcessGroup) -> None:
    assert (await send_log(process_of(group), "", 60_000)).json() == {"size": 60_000}

    @sync_to_async
    def next_attempt() -> Process:
        assert group.run is not None
        return make_group(group.run).processes.get()

    again = await next_attempt()
    assert (await send_log(again, "", 60_000)).json() == {"size": 60_000, "full": True}


async def test_a_closed_log_still_shows_that_its_program_writes(group: ProcessGroup) -> None:
    process = process_of(group)
    await send_log(process, "", MOST + 1)
    path = log_of(group.label, "worker-0").path
    os.utime(path, (1, 1))
    await send_log(process, "", 0)
    assert path.stat().st_mtime > 1


async def test_what_is_removed_makes_room(group: ProcessGroup) -> None:
    process = process_of(group)
    assert (await send_checkpoint(process, "a", 60_000)).status_code == 200
    assert (await send_checkpoint(process, "b", 60_000)).status_code == 413
    removed = {"removed": ["checkpoints/a"]}
    assert (await Runner(process).post("checkpoints", json=removed)).status_code == 200
    assert (await send_checkpoint(process, "b", 60_000)).status_code == 200


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, bool]]:
    """Return the folders that were looked at, and whether that was within a transaction.

    What was measured once stays true here until something says that it is not.
    """
    made: list[tuple[Path, bool]] = []

    def look(folder: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
        made.append((folder, connection.in_atomic_block))
        return files_below(folder)

    monkeypatch.setattr(quota, "files_below", look)
    monkeypatch.setattr(quota, "MEASURE_EVERY_SECONDS", 1000.0)
    monkeypatch.setattr(quota, "FULL_AGE_SECONDS", 1000.0)
    return made


async def test_a_file_that_begins_anew_counts_once(group: ProcessGroup, looks: object) -> None:
    runner = Runner(process_of(group))
    for number in range(4):
        query: dict[str, str | int] = {"path": "logs/a", "offset": 0, "restart": 1}
        answer = await runner.post("file", params=query, content=b"x" * (60_000 + number))
        assert answer.json() == {"size": 60_000 + number}


async def test_a_log_is_ended_only_after_a_look_at_what_is_there(
    group: ProcessGroup, home: Path, looks: object
) -> None:
    process = process_of(group)
    assert (await send_output(process, "a", 60_000)).status_code == 200
    (home / "runs" / str(group.run_id) / "outputs" / "a").unlink()
    assert (await send_log(process, "", 60_000)).json() == {"size": 60_000}


@pytest.mark.parametrize("send", [send_output, send_checkpoint])
async def test_what_could_not_be_stored_takes_no_room(
    group: ProcessGroup, looks: object, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    def fail(*places: Path) -> None:
        raise OSError("The disk is away.")

    process = process_of(group)
    with monkeypatch.context() as broken:
        broken.setattr("runs.files.store.move_durably", fail)
        assert (await send(process, "a", 60_000)).status_code == 503
    assert (await send(process, "a", 60_000)).status_code == 200


@pytest.mark.parametrize("send", [*FILES, *LOGS])
async def test_what_is_there_is_measured_in_the_folders_of_the_run_outside_transactions(
    group: ProcessGroup, home: Path, looks: list[tuple[Path, bool]], send: Send
) -> None:
    @sync_to_async
    def next_attempt() -> Process:
        assert group.run is not None
        return make_group(group.run).processes.get()

    await send(await next_attempt(), "a", 1)
    folders = [folder for folder, _ in looks]
    here = home / "runs" / str(group.run_id)
    attempts = [folder_of(f"run-{group.run_id}-{number}") for number in (1, 2)]
    assert folders == [*attempts, here / "outputs", here / "checkpoints"]
    assert not any(is_locked for _, is_locked in looks)


async def test_those_who_write_are_remembered_and_the_others_forgotten(
    group: ProcessGroup, team: Team, looks: list[tuple[Path, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "MAX_REMEMBERED", 2)
    other = await sync_to_async(running)(team, "worker-0")
    for sent in range(1, 5):
        for each in (group, other):
            assert (await send_log(process_of(each), "", sent)).json() == {"size": sent}
    assert len(looks) == len({folder for folder, _ in looks})


async def test_what_is_sent_twice_counts_once(group: ProcessGroup) -> None:
    process = process_of(group)
    for send in (send_output, send_checkpoint):
        for _ in range(5):
            assert (await send(process, "same", 30_000)).status_code == 200
    for _ in range(5):
        assert (await send_log(process, "", 30_000)).json() == {"size": 30_000}


async def test_what_the_target_keeps_itself_is_not_counted(group: ProcessGroup, home: Path) -> None:
    await ComputeTarget.objects.aupdate(kind="local")
    own = home / "runs" / str(group.run_id) / "checkpoints" / "ckpt"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"x" * MOST)
    assert (await send_log(process_of(group), "", 60_000)).json() == {"size": 60_000}


async def test_files_without_a_byte_have_a_limit_too(
    group: ProcessGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.files.quota.MAX_FILES", 3)
    process = process_of(group)
    statuses = [(await send_log_file(process, str(n), 0)).status_code for n in range(5)]
    assert statuses == [200, 200, 200, 413, 413]
    folder = logs_folder(group.label, "worker-0")
    assert len(list(files_below(folder))) == 3
    assert folder_of(group.label) in folder.parents


@pytest.mark.parametrize("rank", ["2", "999999999", "-1", "x", "../worker-1"])
async def test_only_the_ranks_of_a_run_have_logs(group: ProcessGroup, rank: Any) -> None:
    runner = Runner(process_of(group))
    answer = await runner.post("log", params={"offset": 0, "rank": rank}, content=b"x")
    assert answer.status_code == 400
    assert not list(folder_of(group.label).glob("rank-*"))
