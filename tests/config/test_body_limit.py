"""A large body is taken only from somebody who is known."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from config.body_limit import AROUND_A_FILE, FROM_ANYONE, with_body_limit
from tests.factories import bearer
from tests.runs.runner_calls import database_threads

__all__ = ["database_threads"]
pytestmark = pytest.mark.usefixtures("database_threads")
LARGE = b"x" * (FROM_ANYONE + 1)


class Reader:
    """An application that reads a whole body, as Django does, and counts what it was given."""

    def __init__(self) -> None:
        self.given = 0
        self.was_cut_off = False

    async def __call__(self, scope: Any, receive: Callable[..., Any], send: Any) -> None:
        while True:
            message = await receive()
            self.given += len(message.get("body", b""))
            self.was_cut_off = message["type"] == "http.disconnect"
            if self.was_cut_off or not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def reader() -> Reader:
    return Reader()


async def post(reader: Reader, content: Any, headers: dict[str, str] | None = None) -> int:
    transport = httpx.ASGITransport(cast("Any", with_body_limit(reader)))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        return (await client.post("/login/", content=content, headers=headers)).status_code


async def in_chunks(data: bytes) -> Any:
    for start in range(0, len(data), 65536):
        yield data[start : start + 65536]


async def test_a_small_body_is_taken_from_anyone(reader: Reader, db: None) -> None:
    assert await post(reader, b"x" * FROM_ANYONE) == HTTPStatus.OK
    assert reader.given == FROM_ANYONE


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer ty_made_up"},
        {"Cookie": "sessionid=0123456789abcdefghijklmnopqrstuv"},
        {"Cookie": "other=1"},
    ],
    ids=["anonymous", "false token", "false session", "no session"],
)
async def test_a_large_body_of_a_stranger_is_not_read(
    reader: Reader, headers: dict[str, str], transactional_db: None
) -> None:
    assert await post(reader, LARGE, headers) == HTTPStatus.UNAUTHORIZED
    assert await post(reader, in_chunks(LARGE), headers) == HTTPStatus.UNAUTHORIZED
    assert reader.given == 0


async def test_a_token_lets_a_large_body_in(
    transactional_db: None, reader: Reader, alice_bearer: dict[str, str]
) -> None:
    assert await post(reader, LARGE, alice_bearer) == HTTPStatus.OK
    assert await post(reader, in_chunks(LARGE), alice_bearer) == HTTPStatus.OK
    assert reader.given == 2 * len(LARGE)


async def test_a_session_lets_a_large_body_in(
    transactional_db: None, reader: Reader, alice_cookie: dict[str, str]
) -> None:
    assert await post(reader, LARGE, alice_cookie) == HTTPStatus.OK


async def test_nobody_may_send_without_end(
    transactional_db: None, reader: Reader, alice_bearer: dict[str, str], settings: Settings
) -> None:
    settings.TRAINYARD_MODEL_MAX_BYTES = settings.TRAINYARD_RUN_MAX_BYTES = 1
    too_long = {**alice_bearer, "Content-Length": str(AROUND_A_FILE + 2)}
    assert await post(reader, b"", too_long) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert reader.given == 0
    await post(reader, in_chunks(b"x" * (AROUND_A_FILE + 2)), alice_bearer)
    assert reader.was_cut_off


@pytest.fixture
def alice_bearer(transactional_db: None, alice: User) -> dict[str, str]:
    return bearer(alice)


@pytest.fixture
def alice_cookie(transactional_db: None, alice: User) -> dict[str, str]:
    client = Client()
    client.force_login(alice)
    return {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}
