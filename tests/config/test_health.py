import re
import socket
import time
from contextlib import ExitStack
from datetime import timedelta

import django_rq
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from redis import Redis

from config.health import SUPERVISOR
from tests.factories import make_target, make_team, make_user
from workspace.audit import audit
from workspace.platform import broker as shared_broker
from workspace.platform import leases
from workspace.platform.broker import JobQueue
from workspace.platform.leases import LEASE_DURATION, Lease
from workspace.status import report_tick

HEALTH = "/api/v1/health"
PAGE = "/system/"


@pytest.mark.django_db
def test_all_parts_there_is_ok_without_log_in(client: Client, broker: Redis) -> None:
    Lease.objects.create(name=SUPERVISOR, expires_at=timezone.now() + LEASE_DURATION)
    answer = client.get(HEALTH)
    assert answer.status_code == 200
    found = answer.json()
    assert found["supervisor"] < 5
    assert (found["status"], found["database"], found["broker"]) == ("ok", "ok", "ok")


@pytest.mark.django_db
@pytest.mark.parametrize("hours", [1, -1])
def test_a_web_process_whose_clock_is_wrong_finds_the_supervisor(
    client: Client, broker: Redis, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    leases.take(SUPERVISOR, "someone")
    wrong = timezone.now() + timedelta(hours=hours)
    monkeypatch.setattr(timezone, "now", lambda: wrong)
    answer = client.get(HEALTH)
    assert answer.json()["supervisor"] < 5
    assert answer.status_code == 200


@pytest.mark.django_db
def test_a_broker_that_is_gone_is_named(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = "unix:///nowhere/valkey.sock"
    answer = client.get(HEALTH)
    assert answer.status_code == 503
    assert answer.json()["broker"] == "unreachable"


@pytest.mark.django_db
def test_a_supervisor_that_is_silent_is_told(client: Client, broker: Redis) -> None:
    Lease.objects.create(name=SUPERVISOR, expires_at=timezone.now() - timedelta(seconds=55))
    answer = client.get(HEALTH)
    assert answer.status_code == 503
    assert answer.json()["supervisor"] == pytest.approx(60, abs=5)


@pytest.mark.django_db
def test_a_supervisor_that_never_was_is_told(client: Client, broker: Redis) -> None:
    assert client.get(HEALTH).json()["supervisor"] is None


@pytest.mark.django_db(transaction=True)
def test_health_shows_lag_jobs_descriptors_threads_connections_and_disk(
    client: Client, broker: Redis
) -> None:
    report_tick(0.25)
    job = django_rq.get_queue(JobQueue.BUILDS).enqueue("builtins.int")
    job.enqueued_at = timezone.now() - timedelta(seconds=100)
    job.save()
    found = client.get(HEALTH).json()
    assert (found["tick_lag_seconds"] < 60, found["tick_seconds"]) == (True, 0.25)
    assert found["oldest_job_seconds"] == pytest.approx(100, abs=30)
    assert {queue["name"]: queue["waiting"] for queue in found["queues"]} == {
        queue.value: int(queue == JobQueue.BUILDS) for queue in JobQueue
    }
    assert set(found["processes"]) == {"web", "supervisor"}
    for usage in found["processes"].values():
        assert 0 < usage["connections"] < usage["descriptors"] < usage["max_descriptors"]
        assert usage["threads"] >= 1
    assert 0 < found["disk"]["free_bytes"] < found["disk"]["total_bytes"]


@pytest.mark.django_db
def test_the_lag_of_the_tick_is_right_where_the_clock_is_not(
    client: Client, broker: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get(HEALTH).json()["tick_lag_seconds"] is None
    report_tick(0.25)
    wrong = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: wrong)
    assert 0 <= client.get(HEALTH).json()["tick_lag_seconds"] < 60


@pytest.mark.django_db
def test_descriptors_that_leak_are_seen(client: Client, broker: Redis) -> None:
    def descriptors() -> int:
        count: int = client.get(HEALTH).json()["processes"]["web"]["descriptors"]
        return count

    before = descriptors()
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(socket.socket())
        assert descriptors() >= before + 50


@pytest.mark.django_db
def test_the_page_of_the_system_is_for_the_installations_admin(
    client: Client, alice: User, broker: Redis
) -> None:
    report_tick(0.25)
    client.force_login(alice)
    assert client.get(PAGE).status_code == 403
    assert PAGE not in client.get("/teams/").content.decode()
    alice.is_superuser = True
    alice.save()
    page = client.get(PAGE).content.decode()
    assert "took 0.25 s" in page
    assert "conversions" in page
    assert f'href="{PAGE}"' in page


@pytest.mark.django_db
def test_the_page_of_the_system_lists_the_trusted_engines_that_teams_added(
    client: Client, alice: User, broker: Redis
) -> None:
    """Of an engine that nobody knows who added, the page says so."""
    admin = make_user("root")
    admin.is_superuser = True
    admin.save()
    team = make_team("vision", admin=alice)
    for name, by, fields in (
        ("of-team", alice, {"address": "tcp://10.0.0.7:2375"}),
        ("long-ago", None, {"address": "tcp://10.0.0.8:2375"}),
        ("of-admin", admin, {"address": "tcp://10.0.0.9:2375"}),
        ("restricted", alice, {"address": "tcp://192.0.2.1:2375", "is_trusted": False}),
        ("without-address", alice, {}),
    ):
        make_target(team, name, kind="docker", **fields)
        if by is not None:
            audit(team=team, actor=by, action="target.create", subject=name)
    client.force_login(admin)
    page = client.get(PAGE).content.decode()
    shown = re.findall(r'href="(/t/vision/targets/[^"]+)"', page)
    assert shown == ["/t/vision/targets/long-ago/", "/t/vision/targets/of-team/"]
    rows = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "long-ago Vision tcp://10.0.0.8:2375 not known any more" in rows
    assert "of-team Vision tcp://10.0.0.7:2375 alice" in rows


@pytest.mark.django_db
def test_the_page_of_the_system_is_there_without_a_broker(
    client: Client, alice: User, settings: Settings
) -> None:
    gone = "unix:///nowhere/valkey.sock"
    settings.REDIS_URL = gone
    settings.RQ_QUEUES = {queue.value: {"URL": gone} for queue in JobQueue}
    shared_broker.forget()
    alice.is_superuser = True
    alice.save()
    client.force_login(alice)
    assert "Valkey is unreachable" in client.get(PAGE).content.decode()
    shared_broker.forget()
