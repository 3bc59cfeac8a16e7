"""The runner's endpoints: reports, beats, and who is let in."""

import asyncio
import io
import json
import tarfile
import threading
from contextlib import suppress

import pytest
from channels.layers import get_channel_layer

from runs.events import group_of_run
from runs.ingest import token_cache
from runs.logs.log_file import log_of
from runs.models import Process, ProcessGroup, RunEvent, UsageSample
from runs.source.blobs import store_for
from runs.source.snapshots import Manifest, ManifestEntry, create_snapshot
from runs.states import ProcessState
from tests.runs.ingest.runner_calls import Runner, database_threads, process_of, running, until
from workspace.models import Team
from workspace.platform.database_threads import run_in_database_thread

__all__ = ["database_threads"]
pytestmark = pytest.mark.usefixtures("database_threads")


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    return running(team, "worker-0", "worker-1", state=ProcessState.CREATED)


@pytest.fixture
def other_group(team: Team) -> ProcessGroup:
    return running(team, "worker-0")


async def test_a_wrong_token_is_answered_401(group: ProcessGroup) -> None:
    runner = Runner(process_of(group), token="tp_wrong")
    assert (await runner.post("beat", json={})).status_code == 401
    assert (await runner.post("log?offset=0", content=b"x")).status_code == 401


async def test_an_unknown_endpoint_is_answered_404(group: ProcessGroup) -> None:
    assert (await Runner(process_of(group)).post("nothing")).status_code == 404


async def test_a_fenced_group_is_answered_409_and_stores_nothing(group: ProcessGroup) -> None:
    await ProcessGroup.objects.filter(pk=group.pk).aupdate(is_fenced=True)
    runner = Runner(process_of(group))
    assert (await runner.post("log?offset=0", content=b"late")).status_code == 409
    assert (await runner.get("spec")).status_code == 409
    assert log_of(group.label, "worker-0").size() == 0


async def test_only_an_attempt_that_is_over_is_answered_409(group: ProcessGroup) -> None:
    await Process.objects.aupdate(launch={"command": ["python"], "environment": {}})
    await ProcessGroup.objects.aupdate(encrypted_secrets="of another key")
    answer = await Runner(process_of(group)).get("spec")
    assert answer.status_code == 400
    assert "SECRET_KEY" in answer.json()["detail"]


@pytest.mark.slow
async def test_a_group_fenced_while_it_runs_is_shut_out_within_a_second(
    group: ProcessGroup,
) -> None:
    runner = Runner(process_of(group))
    assert (await runner.post("beat", json={"state": "running"})).status_code == 200
    await ProcessGroup.objects.filter(pk=group.pk).aupdate(is_fenced=True)

    async def is_shut_out() -> bool:
        return (await runner.post("beat", json={"state": "running"})).status_code == 409

    await until(is_shut_out)


async def test_no_caller_is_turned_away_while_its_group_is_asked_for(
    other_group: ProcessGroup, group: ProcessGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    runners = [Runner(process_of(group, name)) for name in ("worker-0", "worker-1")]
    assert (await Runner(process_of(other_group)).post("beat", json={})).status_code == 200
    is_asked, may_answer = asyncio.Event(), threading.Event()
    loop, flags_of = asyncio.get_running_loop(), token_cache._flags_of

    def slow_flags_of(groups: list[int]) -> dict[int, token_cache.GroupFlags]:
        loop.call_soon_threadsafe(is_asked.set)
        may_answer.wait(20)
        return flags_of(groups)

    monkeypatch.setattr(token_cache, "_flags_of", slow_flags_of)
    first = asyncio.create_task(runners[0].post("beat", json={}))
    await is_asked.wait()
    second = asyncio.create_task(runners[1].post("beat", json={}))
    await asyncio.wait([second], timeout=0.1)
    may_answer.set()
    assert [(await call).status_code for call in (first, second)] == [200, 200]


async def test_the_spec_tells_what_to_start(group: ProcessGroup) -> None:
    process = process_of(group)
    process.launch = {
        "command": ["python", "train.py"],
        "environment": {"A": "1"},
        "head_start_seconds": 0.5,
        "source": "snapshot",
        "outputs": True,
    }
    process.memory_bytes = 1000
    await process.asave()
    spec = (await Runner(process).get("spec")).json()
    assert spec == {
        "protocol": 1,
        "name": "worker-0",
        "command": ["python", "train.py"],
        "environment": {"A": "1"},
        "secrets": {},
        "mpi": None,
        "peers": [],
        "head_start_seconds": 0.5,
        "source": True,
        "resume": False,
        "checkpoints": None,
        "watch": ["logs"],
        "outputs": True,
        "grace_seconds": 30,
        "heartbeat_seconds": 1,
        "memory_bytes": 1000,
        "max_file_bytes": 20_000_000_000,
        "server_timeout_seconds": 7 * 86_400,
    }


async def test_the_source_is_the_snapshot_as_a_tar(group: ProcessGroup, team: Team) -> None:
    def store() -> None:
        digest, size = store_for(team).put_stream(b"print(1)\n")
        snapshot = create_snapshot(
            team=team, by=None, manifest=Manifest((ManifestEntry("train.py", digest, size),))
        )
        assert group.run is not None
        group.run.snapshot = snapshot
        group.run.save()
        Process.objects.update(launch={"source": "snapshot", "command": [], "environment": {}})

    await run_in_database_thread(store)
    answer = await Runner(process_of(group)).get("source")
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        assert tar.getnames() == ["train.py"]
        member = tar.extractfile("train.py")
        assert member is not None
        assert member.read() == b"print(1)\n"


async def test_all_processes_go_when_the_last_one_is_ready(group: ProcessGroup) -> None:
    first, second = (Runner(process_of(group, name)) for name in ("worker-0", "worker-1"))
    assert (await first.post("ready", json={"host": "a"})).json() == {"go": False, "stop": False}
    assert (await first.post("beat", json={"state": "ready"})).json()["go"] is False
    assert (await second.post("ready", json={"host": "b"})).json()["go"] is True
    assert (await first.post("beat", json={"state": "ready"})).json()["go"] is True


async def test_a_wanted_stop_reaches_the_runner_with_its_beat(group: ProcessGroup) -> None:
    from django.utils import timezone

    await ProcessGroup.objects.filter(pk=group.pk).aupdate(
        stop_requested_at=timezone.now(), grace_seconds=7
    )
    answer = await Runner(process_of(group)).post("beat", json={"state": "running"})
    assert answer.json()["stop"] is True
    assert answer.json()["grace_seconds"] == 7


async def test_start_exit_and_collection_are_noted_once(group: ProcessGroup) -> None:
    process = process_of(group)
    runner = Runner(process)
    assert (await runner.post("started", json={"pid": 7})).status_code == 200
    assert (await Process.objects.aget(pk=process.pk)).state == ProcessState.RUNNING
    report = {"exit_code": 137, "reason": "killed by signal 9 (SIGKILL)", "out_of_memory": True}
    for _ in range(2):
        assert (await runner.post("exit", json=report)).status_code == 200
    assert (await runner.post("exit", json={"exit_code": 0})).status_code == 200
    assert (await runner.post("collected", json={})).status_code == 200
    ended = await Process.objects.aget(pk=process.pk)
    assert (ended.state, ended.exit_code, ended.out_of_memory) == (ProcessState.EXITED, 137, True)
    assert ended.exit_reason == "killed by signal 9 (SIGKILL)"
    assert ended.collected_at is not None


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b"{}",
        b"[" * 100_000,
        *(
            b'{"exit_code": %s}' % code
            for code in (b'"1"', b"null", b"true", b"1.0", b"-1", b"256", b"NaN", b"1" + b"0" * 20)
        ),
        b'{"exit_code": 1%s}' % (b"0" * 5000),
    ],
)
async def test_an_exit_report_that_makes_no_sense_is_refused(
    group: ProcessGroup, body: bytes
) -> None:
    assert (await Runner(process_of(group)).post("exit", content=body)).status_code == 400


async def test_what_a_runner_reports_is_cleaned_where_it_is_received(group: ProcessGroup) -> None:
    process = process_of(group)
    runner = Runner(process)
    odd = json.dumps("a\0b\ud800" + "x" * 1_000_000)
    body = f'{{"host": {odd}, "exit_code": 1, "reason": {odd}}}'.encode()
    for path in ("ready", "exit"):
        assert (await runner.post(path, content=body)).status_code == 200
    ended = await Process.objects.aget(pk=process.pk)
    event = await RunEvent.objects.aget(run=group.run, type="process.exited")
    for text, most in ((ended.node, 100), (ended.exit_reason, 200), (event.data["reason"], 2000)):
        assert text.startswith("a\ufffdb\ufffdx")
        assert len(text) == most


@pytest.mark.parametrize("odd", [7, None, ["a"], {"a": 1}, True])
async def test_a_report_with_something_else_than_text_is_taken_without_it(
    group: ProcessGroup, odd: object
) -> None:
    process = process_of(group)
    report = {"host": odd, "exit_code": 1, "reason": odd, "out_of_memory": odd}
    for path in ("ready", "exit"):
        assert (await Runner(process).post(path, json=report)).status_code == 200
    ended = await Process.objects.aget(pk=process.pk)
    assert (ended.node, ended.exit_reason) == ("", "")


async def test_beats_keep_a_heartbeat_and_a_sample_without_a_write_each_time(
    group: ProcessGroup,
) -> None:
    process = process_of(group)
    runner = Runner(process)
    usage = {"cpus": 1.5, "memory_bytes": 1000, "gpu": None, "gpu_memory_bytes": None}
    for _ in range(5):
        await runner.post("beat", json={"state": "running", "usage": usage, "log_size": 0})
    sample = await UsageSample.objects.aget(process=process)
    assert (sample.cpus, sample.memory_bytes) == (1.5, 1000)
    assert (await Process.objects.aget(pk=process.pk)).heartbeat_at is not None


@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        {},
        {"cpus": "x", "memory_bytes": 1},
        {"cpus": -1, "memory_bytes": 1e300},
        {"cpus": 1, "memory_bytes": 10**400},
    ],
)
async def test_usage_that_makes_no_sense_is_left_out(group: ProcessGroup, usage: object) -> None:
    answer = await Runner(process_of(group)).post("beat", json={"state": "running", "usage": usage})
    assert answer.status_code == 200
    assert not await UsageSample.objects.aexists()


async def test_the_log_is_appended_by_offset_whatever_is_lost_or_sent_twice(
    group: ProcessGroup,
) -> None:
    runner = Runner(process_of(group))
    sends = [(0, b"one\n", 4), (0, b"one\ntwo\n", 8), (20, b"gap", 8), (4, b"two\n", 8)]
    for offset, data, size in [*sends, (8, b"three\n", 14)]:
        answer = await runner.post(f"log?offset={offset}", content=data)
        assert (answer.status_code, answer.json()) == (200, {"size": size})
    assert log_of(group.label, "worker-0").read(0, 100) == b"one\ntwo\nthree\n"


@pytest.mark.parametrize(
    "query", ["", "?offset=", "?offset=-1", "?offset=x", "?offset=" + "9" * 30]
)
async def test_a_log_chunk_needs_an_offset(group: ProcessGroup, query: str) -> None:
    answer = await Runner(process_of(group)).post(f"log{query}", content=b"x")
    assert answer.status_code == 400
    assert "offset" in answer.json()["detail"]


async def test_a_log_chunk_may_not_be_endless(group: ProcessGroup) -> None:
    answer = await Runner(process_of(group)).post("log?offset=0", content=b"x" * (9 << 20))
    assert answer.status_code == 413
    assert log_of(group.label, "worker-0").size() == 0


@pytest.mark.slow
async def test_watchers_are_nudged_at_most_twenty_times_a_second_and_after_the_last_chunk(
    group: ProcessGroup,
) -> None:
    layer = get_channel_layer()
    assert layer is not None
    channel = await layer.new_channel()
    await layer.group_add(group_of_run(group.run_id or 0), channel)
    runner = Runner(process_of(group))
    began = asyncio.get_running_loop().time()
    for number in range(100):
        await runner.post(f"log?offset={number}", content=b"x")
    sent_for = asyncio.get_running_loop().time() - began
    nudges = []
    with suppress(TimeoutError):
        while True:
            nudges.append(await asyncio.wait_for(layer.receive(channel), 0.5))
    assert nudges[-1] == {"type": "nudge", "what": "log", "process": "worker-0"}
    assert 2 <= len(nudges) <= sent_for / 0.05 + 2


async def test_a_request_cut_off_in_the_middle_stores_nothing(group: ProcessGroup) -> None:
    from runs.ingest.app import application
    from tests.factories import process_token

    pieces = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]
    answers: list[object] = []

    async def receive():
        return pieces.pop(0)

    async def send(message):
        answers.append(message)

    token = process_token(process_of(group))
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/runner/v1/log",
        "query_string": b"offset=0",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }
    await application(scope, receive, send)
    assert answers == []
    assert log_of(group.label, "worker-0").size() == 0
