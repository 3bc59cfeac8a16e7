"""The websocket of a run: everything once, in order, at each watcher's own pace."""

import asyncio
import json
from typing import Any

import pytest
from channels.layers import get_channel_layer

from runs.events import group_of_run
from runs.live import feeds as feeds_module
from runs.live.feeds import feeds
from runs.logs.log_file import build_log_of, log_of
from runs.metrics.ingestion import finish_metrics
from runs.models import ProcessGroup, Run
from tests.factories import make_environment
from tests.runs.ingest.runner_calls import Runner, database_threads, process_of
from tests.runs.live.feed_watchers import watching
from workspace.models import EnvironmentState
from workspace.platform.database_threads import run_in_database_thread

__all__ = ["database_threads"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("database_threads")]


async def test_the_whole_state_comes_first(run: Run, token: str) -> None:
    async with watching(run, token) as socket:
        assert (await socket.next())["type"] == "websocket.accept"
        status = await socket.message("run.status")
        assert (status["status"], status["seq"]) == ("Running", run.last_seq)
        processes = [await socket.message("process.status") for _ in range(2)]
        assert [message["process"] for message in processes] == ["worker-0", "worker-1"]


async def test_a_new_status_comes_by_its_nudge(run: Run, token: str) -> None:
    from runs.lifecycle import finalize
    from runs.states import EndReason

    async with watching(run, token) as socket:
        await socket.message("run.status")
        await run_in_database_thread(lambda: finalize(run, EndReason.CANCELED, message="Canceled."))
        status = await socket.message("run.status", status="Finalizing")
        assert status["end_reason"] == "canceled"


async def test_text_that_draws_lines_anew_comes_with_the_last_lines(
    run: Run, token: str, runner: Runner
) -> None:
    async with watching(run, token, {"worker-0": 0}) as socket:
        await runner.post("log?offset=0", content=b"outer 0%\ninner 0%")
        assert (await socket.message("log"))["redrawn"] is None
        await runner.post("log?offset=17", content=b"\x1b[A\n\rinner 1%\x1b[A")
        message = await socket.message("log")
        assert message["text"] == "\x1b[A\n\rinner 1%\x1b[A"
        lines = {"first": 0, "total": 2, "lines": ["outer 0%", "inner 1%"], "complete": False}
        assert message["redrawn"] == lines
        await runner.post("log?offset=33", content=b"\router 1%\ninner 2%")
        redrawn = (await socket.message("log"))["redrawn"]
        assert redrawn["lines"] == ["outer 1%", "inner 2%"]


async def test_text_comes_as_it_is_stored_and_only_of_logs_that_are_followed(
    run: Run, group: ProcessGroup, token: str, runner: Runner
) -> None:
    other = Runner(process_of(group, "worker-1"))
    async with watching(run, token, {"worker-0": 0}) as socket:
        await runner.post("log?offset=0", content=b"one\n")
        await other.post("log?offset=0", content=b"hidden\n")
        assert await socket.text(4) == "one\n"
        await runner.post("log?offset=4", content="zwei ü\n".encode())
        assert await socket.text(12, start=4) == "zwei ü\n"


async def test_without_offsets_no_text_comes(run: Run, token: str, runner: Runner) -> None:
    async with watching(run, token) as socket:
        await runner.post("log?offset=0", content=b"one\n")
        await runner.post("exit", json={"exit_code": 0})
        while True:
            event = await socket.next()
            message = json.loads(event.get("text", "{}"))
            assert message.get("type") != "log"
            if message.get("state") == "exited":
                break


async def test_a_star_follows_every_process(
    run: Run, group: ProcessGroup, token: str, runner: Runner
) -> None:
    await runner.post("log?offset=0", content=b"a\n")
    await Runner(process_of(group, "worker-1")).post("log?offset=0", content=b"b\n")
    async with watching(run, token, {"*": 0}) as socket:
        came = [await socket.message("log") for _ in range(2)]
        assert {message["process"]: message["text"] for message in came} == {
            "worker-0": "a\n",
            "worker-1": "b\n",
        }


async def test_a_watcher_that_comes_back_misses_nothing_and_gets_nothing_twice(
    run: Run, group: ProcessGroup, token: str, runner: Runner
) -> None:
    text = "".join(f"line {number} – ü\n" for number in range(3000))  # noqa: RUF001
    data = text.encode()
    seen, offset = "", 0

    async def produce() -> None:
        for start in range(0, len(data), 997):
            await runner.post(f"log?offset={start}", content=data[start : start + 997])

    producer = asyncio.create_task(produce())
    while offset < len(data):
        async with watching(run, token, {"worker-0": offset}) as socket:
            for _ in range(3):
                if offset == len(data):
                    break
                message = await socket.message("log")
                assert message["offset"] == offset
                seen, offset = seen + message["text"], message["next"]
    await producer
    assert seen == text


async def test_the_merged_log_is_followed_by_record(
    run: Run, group: ProcessGroup, token: str, runner: Runner
) -> None:
    other = Runner(process_of(group, "worker-1"))
    async with watching(run, token, {"merged": 0}) as socket:
        await runner.post("log?offset=0", content=b"a\n")
        first = await socket.message("log", process="merged")
        await other.post("log?offset=0", content=b"b\n")
        second = await socket.message("log", process="merged")
        assert (first["text"], second["text"]) == ("worker-0 | a\n", "worker-1 | b\n")
        assert second["offset"] == first["next"]
    async with watching(run, token, {"merged": second["next"]}) as socket:
        await runner.post("log?offset=2", content=b"c\n")
        assert (await socket.message("log"))["text"] == "worker-0 | c\n"


async def test_a_build_is_followed_without_nudges(run: Run, token: str) -> None:
    environment = await run_in_database_thread(make_environment, EnvironmentState.BUILDING)
    run.environment = environment
    await run.asave()
    log = build_log_of(environment)
    async with watching(run, token, {"build": 0}) as socket:
        await socket.message("run.status")
        log.append(0, b"Resolved 3 packages\n")
        message = await socket.message("build")
        assert (message["offset"], message["text"]) == (0, "Resolved 3 packages\n")


async def test_the_last_half_character_of_a_log_comes_at_its_end(
    run: Run, token: str, runner: Runner
) -> None:
    async with watching(run, token, {"worker-0": 0}) as socket:
        await runner.post("log?offset=0", content=b"x\xe2\x82")
        assert await socket.text(1) == "x"
        await runner.post("exit", json={"exit_code": 0})
        await runner.post("collected", json={})
        assert await socket.text(3, start=1) == "\ufffd"


async def test_a_lost_nudge_costs_time_and_no_text(
    run: Run, group: ProcessGroup, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds_module, "POLL_EVERY", 0.05)
    async with watching(run, token, {"worker-0": 0}) as socket:
        await socket.message("run.status")
        log_of(group.label, "worker-0").append(0, b"nobody told\n")
        assert await socket.text(12) == "nobody told\n"


async def test_text_comes_without_a_channel_layer(
    run: Run, token: str, runner: Runner, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds_module, "POLL_EVERY", 0.05)
    monkeypatch.setattr(feeds_module, "get_channel_layer", lambda: None)
    async with watching(run, token, {"worker-0": 0}) as socket:
        await runner.post("log?offset=0", content=b"all the same\n")
        assert await socket.text(13) == "all the same\n"


async def test_a_watcher_that_does_not_read_holds_up_nobody_and_no_memory(
    run: Run, group: ProcessGroup, token: str, runner: Runner
) -> None:
    line = b"x" * 99 + b"\n"
    async with watching(run, token, {"worker-0": 0}) as slow:
        await slow.message("run.status")
        slow.may_write.clear()
        async with watching(run, token, {"worker-0": 0}) as quick:
            for number in range(20):
                start = number * 500_000
                await runner.post(f"log?offset={start}", content=line * 5000)
            assert len(await quick.text(10_000_000)) == 10_000_000
            assert slow.from_server.qsize() < 10
            feed = feeds()._feeds[group_of_run(run.pk)]
            assert sum(len(text.text) for text in feed._chunks.values()) < 10_000_000
            slow.may_write.set()
            assert len(await slow.text(10_000_000)) == 10_000_000


async def test_fifty_watchers_cause_one_reading(
    run: Run, token: str, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    real = feeds_module._read

    def counted(name: str, watched: Any, offset: int) -> Any:
        found = real(name, watched, offset)
        if found:
            reads.append(offset)
        return found

    monkeypatch.setattr(feeds_module, "_read", counted)
    async with watching(run, token, {"worker-0": 0}) as first:
        await first.message("run.status")
        await watch_many(run, token, runner, 50)
    assert reads == [0]


async def watch_many(run: Run, token: str, runner: Runner, count: int) -> None:
    if count:
        async with watching(run, token, {"worker-0": 0}) as socket:
            await socket.message("run.status")
            await watch_many(run, token, runner, count - 1)
            assert await socket.text(4) == "one\n"
    else:
        await runner.post("log?offset=0", content=b"one\n")


def read_metrics(group: ProcessGroup) -> None:
    ProcessGroup.objects.filter(pk=group.pk).update(metrics_read_at=None)
    finish_metrics(group.pk)


async def test_usage_and_grown_metrics_are_told(
    run: Run, group: ProcessGroup, token: str, runner: Runner
) -> None:
    usage = {"cpus": 1.5, "memory_bytes": 1000, "gpu": None, "gpu_memory_bytes": None}
    async with watching(run, token) as socket:
        await socket.message("run.status")
        await runner.post("beat", json={"state": "running", "usage": usage})
        assert (await socket.message("usage"))["cpus"] == 1.5
        await runner.post(
            "file?path=logs/metrics.jsonl&offset=0", content=b'{"step": 1, "a": 1, "b": 1}\n'
        )
        await run_in_database_thread(read_metrics, group)
        assert await socket.message("metrics") == {
            "type": "metrics",
            "names": ["a", "b"],
            "step": 1,
        }
        await runner.post(
            "file?path=logs/metrics.jsonl&offset=28", content=b'{"step": 2, "b": 1}\n'
        )
        await run_in_database_thread(read_metrics, group)
        assert (await socket.message("metrics"))["names"] == ["b"]


async def test_an_offset_beyond_the_end_waits_for_the_log_to_grow(
    run: Run, token: str, runner: Runner
) -> None:
    async with watching(run, token, {"worker-0": 4}) as socket:
        await runner.post("log?offset=0", content=b"one\ntwo\n")
        assert await socket.text(8, start=4) == "two\n"


async def test_watchers_leave_nothing_behind(run: Run, token: str) -> None:
    layer = get_channel_layer()
    assert layer is not None
    for _ in range(5):
        async with watching(run, token) as socket:
            await socket.message("run.status")
    await asyncio.sleep(0)
    assert not feeds()._feeds
    assert not [task for task in asyncio.all_tasks() if "Feed" in repr(task.get_coro())]
