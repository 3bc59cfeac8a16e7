"""The page that submits a run: who looks at it, what is filled in, and what it says."""

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.models import Snapshot
from tests.factories import make_target
from tests.runs.source.test_snapshots import snapshot_of
from workspace.models import Team

PAGE = "/t/default/runs/new/"
SCRIPT = b"print('hello')\n"


@pytest.fixture
def page(bob: User, team: Team, client: Client) -> Client:
    client.force_login(bob)
    return client


@pytest.fixture
def snapshot(team: Team, page: Client) -> Snapshot:
    make_target(team)
    files = {"train.py": SCRIPT, "lib/model.py": SCRIPT, "requirements.txt": b"rich==14.0.0\n"}
    return snapshot_of(team, files)


def fields(snapshot: Snapshot, **more: Any) -> dict[str, Any]:
    return {
        "snapshot": snapshot.digest,
        "idempotency_key": "key-1",
        "experiment": "digits",
        "entry_script": "train.py",
        "compute_target": "local",
        "framework_version": "2.21",
        "mode": "single",
        **more,
    }


def words(response: Any) -> str:
    """Return what a page says, without its tags."""
    text = re.sub(r"<(script|style|template)\b.*?</\1>", " ", response.content.decode(), flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text)))


def value_of(response: Any, name: str) -> str:
    found = re.search(rf'<input[^>]*name="{name}"[^>]*>', response.content.decode())
    assert found, name
    value = re.search(r'value="([^"]*)"', found[0])
    return unescape(value[1]) if value else ""
