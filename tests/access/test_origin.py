"""Only pages of this server, scheme and port included, open websockets with a visitor's session."""

import asyncio
import socket
from typing import Any

import pytest
import uvicorn
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from config.asgi import application
from config.websocket_origin import has_own_origin
from tests.runs.ingest.runner_calls import database_threads, running
from workspace.models import Team

__all__ = ["database_threads"]

HOST = "trainyard.lan:8000"
OWN = f"http://{HOST}"


def scope_of(origin: str | None, host: str = HOST, scheme: str = "ws") -> dict[str, Any]:
    headers = [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode("latin-1")))
    return {"type": "websocket", "scheme": scheme, "headers": headers}


@pytest.fixture(autouse=True)
def addresses(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["trainyard.lan", "localhost"]
    settings.TRAINYARD_URL = "https://public.example"


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        (OWN, HOST, "ws"),
        ("HTTP://Trainyard.LAN:8000", HOST, "ws"),
        ("http://localhost", "localhost", "ws"),
        ("http://localhost", "localhost:80", "ws"),
        ("https://localhost", "localhost:443", "wss"),
        ("https://public.example", "public.example", "ws"),
    ],
)
def test_the_own_origin_is_welcome(origin: str, host: str, scheme: str) -> None:
    assert has_own_origin(scope_of(origin, host, scheme))


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "http://trainyard.lan:8001",
        "http://trainyard.lan",
        "https://trainyard.lan:8000",
        "ftp://trainyard.lan:8000",
        "http://evil.example",
        "http://trainyard.lan:8000.evil.example",
        "http://trainyard.lan.evil.example:8000",
        "http://trainyard.lan:8000@evil.example",
        "http://evil.example/trainyard.lan:8000",
        "http://localhost:8000",
        "http://public.example",
        "https://public.example:8443",
        "http://[::1",
        "http://trainyard.lan:99999",
        "\xff",
    ],
)
def test_any_other_origin_is_not(origin: str | None) -> None:
    assert not has_own_origin(scope_of(origin))


def test_a_host_that_is_not_ours_is_no_origin_of_ours() -> None:
    assert not has_own_origin(scope_of("http://evil.example", "evil.example"))


def test_two_origins_are_none() -> None:
    scope = scope_of(OWN)
    scope["headers"].append((b"origin", b"http://evil.example"))
    assert not has_own_origin(scope)


@pytest.fixture
def visitor(database_threads: None, alice: User, team: Team, settings: Settings) -> dict[str, str]:
    """Return the headers that a browser of Alice sends; her team has the run 1."""
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    running(team, "worker-0")
    page = Client()
    page.force_login(alice)
    name = settings.SESSION_COOKIE_NAME
    return {"Cookie": f"{name}={page.cookies[name].value}"}


async def test_a_page_on_another_port_or_scheme_opens_nothing_with_the_visitors_session(
    visitor: dict[str, str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(application, lifespan="off", log_config=None, ws="websockets-sansio")
        )
        serving = asyncio.create_task(server.serve([listening]))
        url = f"ws://127.0.0.1:{port}/ws/teams/default/runs/1/"
        own = f"http://127.0.0.1:{port}"
        async with connect(url, origin=Origin(own), additional_headers=visitor) as ours:
            assert "run.status" in str(await ours.recv())
        for other in (f"http://127.0.0.1:{port + 1}", f"https://127.0.0.1:{port}"):
            with pytest.raises(InvalidStatus, match="403"):
                await connect(url, origin=Origin(other), additional_headers=visitor)
        server.should_exit = True
        await asyncio.wait_for(serving, 30)
