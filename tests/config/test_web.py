"""What holds for every address of the web process."""

import logging

import pytest
from asgiref.testing import ApplicationCommunicator
from django.test import Client

from config.asgi import application
from config.server.log_format import OneLine


@pytest.mark.django_db
def test_pages_may_load_and_run_only_what_is_ours(client: Client) -> None:
    answer = client.get("/login/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.django_db
def test_a_page_has_no_inline_script_or_style_that_the_policy_would_stop(client: Client) -> None:
    page = client.get("/login/").content.decode()
    assert "<style" not in page
    assert " style=" not in page
    assert "<script>" not in page


@pytest.mark.django_db(transaction=True)
async def test_a_websocket_that_nobody_expects_is_refused() -> None:
    stranger = ApplicationCommunicator(
        application,
        {
            "type": "websocket",
            "path": "/ws/nothing/here/",
            "query_string": b"",
            "headers": [(b"origin", b"http://localhost"), (b"host", b"localhost")],
        },
    )
    await stranger.send_input({"type": "websocket.connect"})
    assert await stranger.receive_output() == {"type": "websocket.close"}


def test_a_log_line_cannot_be_forged() -> None:
    record = logging.LogRecord(
        "web", logging.WARNING, "", 0, "no such page: %s", ("/a\nERROR all is lost \x1b[31m",), None
    )
    assert OneLine().format(record) == (
        r"WARNING web: no such page: /a\nERROR all is lost \x1b[31m"
    )


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("first\x1bsecond")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    lines = (
        OneLine()
        .format(logging.LogRecord("web", logging.ERROR, "", 0, "failed", (), info))
        .splitlines()
    )
    assert lines[0] == "ERROR web: failed"
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == r"ValueError: first\x1bsecond"
