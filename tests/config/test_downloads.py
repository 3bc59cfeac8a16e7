"""Readers of downloads that take their time hold nothing that others need, nor do large bodies."""

import io
import os
import socket
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path

from config.asgi import application
from runs.logs.log_file import log_of
from runs.models import ProcessGroup
from tests.config.server.serving import serving
from tests.factories import bearer
from tests.runs.ingest.runner_calls import database_threads, running
from tests.waiting import wait_for
from workspace.models import Team

__all__ = ["database_threads"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("database_threads")]
READERS = 100
READERS_OF_PAGES = 20
LARGE = b"x" * 2**24


@pytest.fixture
def port(transactional_db: None) -> Iterator[int]:
    with serving(application) as port:
        yield port


@pytest.fixture
def group(transactional_db: None, team: Team) -> ProcessGroup:
    return running(team, "worker-0")


def open_database_connections() -> int:
    """Count the connections to the database of all threads of this process."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            )
            return int(cursor.fetchone()[0])
        cursor.execute("SELECT 1")
    database = str(connection.settings_dict["NAME"])
    return sum(place_of(file) == database for file in os.listdir("/proc/self/fd"))


def place_of(file: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{file}")
    except FileNotFoundError:
        return ""


@login_not_required
def large_page(request: HttpRequest) -> HttpResponse:
    """Answer with more than what a socket takes in for a reader, after a query."""
    return HttpResponse(LARGE if Team.objects.exists() else b"")


urlpatterns = [path("large/", large_page)]


def open_reader(stack: ExitStack, port: int, target: str, headers: dict[str, str]) -> None:
    """Ask for something and read only how the answer begins."""
    head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    reader = stack.enter_context(socket.socket())
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.settimeout(60)
    reader.connect(("127.0.0.1", port))
    reader.sendall(head.encode())
    assert reader.recv(1024).startswith(b"HTTP/1.1 200 ")


def test_slow_readers_of_downloads_hold_no_connection_and_no_thread(
    port: int, group: ProcessGroup, vera: User
) -> None:
    log_of(group.label, "worker-0").append(0, b"0123456789abcde\n" * 2**21)
    run = group.run
    assert run is not None
    log = f"/api/v1/teams/{group.team.slug}/runs/{run.number}/logs/worker-0"
    threads, held = threading.active_count(), open_database_connections()
    with ExitStack() as stack:
        for _ in range(READERS):
            open_reader(stack, port, log, bearer(vera))
        # The threads that read the files are few, and shared.
        wait_for(
            lambda: open_database_connections() <= held + 1, "the connections to be given back"
        )
        wait_for(
            lambda: threading.active_count() - threads < READERS / 2, "the threads to be given back"
        )
        page = httpx.get(f"http://127.0.0.1:{port}{log}/lines", headers=bearer(vera), timeout=60)
        assert page.status_code == HTTPStatus.OK


@pytest.mark.urls(__name__)
def test_slow_readers_of_large_pages_hold_none_either(port: int, team: Team) -> None:
    threads, held = threading.active_count(), open_database_connections()
    with ExitStack() as stack:
        for _ in range(READERS_OF_PAGES):
            open_reader(stack, port, "/large/", {})
        wait_for(
            lambda: open_database_connections() <= held + 1, "the connections to be given back"
        )
        wait_for(
            lambda: threading.active_count() - threads < READERS_OF_PAGES / 2,
            "the threads to be given back",
        )


@pytest.fixture
def alice_bearer(transactional_db: None, alice: User) -> dict[str, str]:
    return bearer(alice)


async def test_a_large_body_goes_to_the_home_and_not_to_the_temporary_folder(
    alice_bearer: dict[str, str], team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """compose.yaml keeps the temporary folder in memory."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    content = os.urandom(2 * (settings.FILE_UPLOAD_MAX_MEMORY_SIZE or 0))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("data.bin")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))

    async def pieces() -> Any:
        for start in range(0, len(packed.getvalue()), 65536):
            yield packed.getvalue()[start : start + 65536]

    transport: Any = httpx.ASGITransport(application)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post(
            f"/api/v1/teams/{team.slug}/uploads/archives?filename=data.tar",
            content=pieces(),
            headers=alice_bearer,
        )
    assert answer.status_code == HTTPStatus.OK, answer.text
    assert [file["path"] for file in answer.json()["files"]] == ["data.bin"]
