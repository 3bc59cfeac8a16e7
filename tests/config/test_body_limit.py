"""A large body is taken only from somebody who is known."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from config.api import api
from config.body_limit import (
    ANONYMOUS_MAX_BYTES,
    MULTIPART_OVERHEAD_BYTES,
    UPLOADS,
    max_body_bytes,
    with_body_limit,
)
from tests.factories import bearer
from tests.runs.ingest.runner_calls import database_threads

__all__ = ["database_threads"]
pytestmark = pytest.mark.usefixtures("database_threads")
LARGE = b"x" * (ANONYMOUS_MAX_BYTES + 1)


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


UPLOAD = "/api/v1/teams/vision/uploads/blobs"


async def send(
    reader: Reader,
    method: str,
    path: str,
    content: Any,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    transport = httpx.ASGITransport(cast("Any", with_body_limit(reader)))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        return await client.request(method, path, content=content, headers=headers)


async def post(reader: Reader, content: Any, headers: dict[str, str] | None = None) -> int:
    return (await send(reader, "POST", UPLOAD, content, headers)).status_code


async def in_chunks(data: bytes) -> Any:
    for start in range(0, len(data), 65536):
        yield data[start : start + 65536]


async def test_a_small_body_is_taken_from_anyone(reader: Reader, db: None) -> None:
    assert await post(reader, b"x" * ANONYMOUS_MAX_BYTES) == HTTPStatus.OK
    assert reader.given == ANONYMOUS_MAX_BYTES


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
    too_long = {**alice_bearer, "Content-Length": str(MULTIPART_OVERHEAD_BYTES + 2)}
    assert await post(reader, b"", too_long) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert reader.given == 0
    refusal = await post(reader, in_chunks(b"x" * (MULTIPART_OVERHEAD_BYTES + 2)), alice_bearer)
    assert reader.was_cut_off
    assert refusal == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_small_body_that_nobody_reads_is_no_reason_to_refuse(
    reader: Reader, db: None, method: str
) -> None:
    """Some clients send {} with every request."""
    for content in (b"{}", in_chunks(b"{}")):
        answer = await send(reader, method, "/api/v1/teams/vision/targets/a", content)
        assert answer.status_code == HTTPStatus.OK


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/health"),
        ("DELETE", UPLOAD),
        ("HEAD", "/login/"),
        ("POST", "/logout/"),
        ("POST", "/api/v1/teams/vision/targets"),
        ("POST", "/nothing/here/"),
    ],
)
async def test_only_uploads_take_more_than_a_form(
    transactional_db: None,
    reader: Reader,
    alice_bearer: dict[str, str],
    settings: Settings,
    method: str,
    path: str,
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * ANONYMOUS_MAX_BYTES
    for content in (LARGE * 2, in_chunks(LARGE * 2)):
        answer = await send(reader, method, path, content, alice_bearer)
        assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        assert reader.given <= 2 * ANONYMOUS_MAX_BYTES + 65536


def test_every_route_with_a_file_in_its_description_takes_files() -> None:
    for path, operations in api.get_openapi_schema(path_prefix="/api/v1/")["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            takes_files = bool(content.keys() - {"application/json"})
            size = max_body_bytes(method.upper(), re.sub("{[^}]*}", "1", path))
            assert size > 0 or not content, f"{method} {path}"
            if method == "post":
                is_upload = size > (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)
                assert is_upload == takes_files, f"{method} {path}"


def test_every_form_with_a_file_goes_to_a_page_that_takes_files() -> None:
    names = {
        "deploy/service_drift.html": "deploy:set_baseline",
        "models/register.html": "models:register",
        "runs/new_files.html": "new_run:archive",
    }
    templates = settings.BASE_DIR / "templates"
    with_files = {
        str(path.relative_to(templates))
        for path in templates.rglob("*.html")
        if "multipart/form-data" in re.sub("<code.*?</code>", "", path.read_text(), flags=re.DOTALL)
        and 'type="file"' in path.read_text()
    }
    assert with_files == set(names)
    assert set(names.values()) < UPLOADS


@pytest.fixture
def alice_bearer(transactional_db: None, alice: User) -> dict[str, str]:
    return bearer(alice)


@pytest.fixture
def alice_cookie(transactional_db: None, alice: User) -> dict[str, str]:
    client = Client()
    client.force_login(alice)
    return {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}
