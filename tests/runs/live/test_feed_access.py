"""Whom the websocket of a run lets in, and what it takes of them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from runs.models import Run
from tests.factories import make_token
from tests.runs.ingest.runner_calls import database_threads
from tests.runs.live.feed_watchers import watching
from workspace.accounts.services import remove_member
from workspace.models import ApiToken, Membership, Team
from workspace.platform.database_threads import run_in_database_thread

__all__ = ["database_threads"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("database_threads")]


@pytest.mark.parametrize(
    "offsets",
    [
        [],
        "x",
        {"worker-0": -1},
        {"worker-0": 2**60},
        {"worker-0": "0"},
        {"worker-0": True},
        {"../secret": 0},
        {f"worker-{n}": 0 for n in range(1000)},
    ],
)
async def test_offsets_that_make_no_sense_close_the_socket(
    run: Run, token: str, offsets: object
) -> None:
    async with watching(run, token, offsets) as socket:
        assert await socket.closed() == 1008


async def test_offsets_that_are_not_json_close_the_socket(run: Run, token: str) -> None:
    for query in (b"offsets=%7B", b"offsets=" + b"[" * 100_000):
        async with watching(run, token, scope={"query_string": query}) as socket:
            assert await socket.closed() == 1008


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"bytes": b"\x00\x01"}, 1003),
        ({"text": "{"}, 1007),
        ({"text": "[" * 4000}, 1007),
        ({"text": '{"type": "unknown"}'}, 1008),
        ({"text": "x" * 5000}, 1009),
    ],
)
async def test_a_frame_that_nobody_expects_closes_the_socket(
    run: Run, token: str, frame: dict[str, Any], code: int
) -> None:
    async with watching(run, token) as socket:
        socket.to_server.put_nowait({"type": "websocket.receive", **frame})
        assert await socket.closed() == code


@pytest.mark.parametrize("token", ["", "ty_wrong"])
async def test_nobody_unknown_is_let_in(run: Run, token: str) -> None:
    async with watching(run, token) as socket:
        assert (await socket.next())["type"] == "websocket.close"


async def test_a_stranger_is_not_let_in(run: Run, charlie: Any) -> None:
    token = await run_in_database_thread(make_token, charlie)
    async with watching(run, token) as socket:
        assert (await socket.next())["type"] == "websocket.close"


async def closes_within_five_seconds(run: Run, token: str, act: Callable[[], object]) -> None:
    async with watching(run, token) as socket:
        await socket.message("run.status")
        await run_in_database_thread(act)
        assert await asyncio.wait_for(socket.closed(), 5) == 1008


async def test_a_removed_member_is_shut_out(
    run: Run, team: Team, alice: Any, vera: Any, token: str
) -> None:
    def remove() -> None:
        remove_member(member=Membership.objects.get(team=team, user=vera), by=alice)

    await closes_within_five_seconds(run, token, remove)


async def test_the_holder_of_a_revoked_token_is_shut_out(run: Run, token: str) -> None:
    def revoke() -> None:
        ApiToken.objects.update(revoked_at=timezone.now())

    await closes_within_five_seconds(run, token, revoke)


async def test_who_logs_out_is_shut_out(run: Run, vera: Any) -> None:
    client = Client()
    await run_in_database_thread(client.force_login, vera)
    session = type("Session", (), {"session_key": client.session.session_key})()
    async with watching(run, "", scope={"session": session}) as socket:
        await socket.message("run.status")
        await run_in_database_thread(client.logout)
        assert await asyncio.wait_for(socket.closed(), 5) == 1008
