from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from redis import Redis

from config.health import SUPERVISOR
from workspace.leases import LASTS
from workspace.models import Lease

HEALTH = "/api/v1/health"


@pytest.mark.django_db
def test_all_parts_there_is_ok_without_log_in(client: Client, broker: Redis) -> None:
    Lease.objects.create(name=SUPERVISOR, expires_at=timezone.now() + LASTS)
    answer = client.get(HEALTH)
    assert answer.status_code == 200
    found = answer.json()
    assert found.pop("supervisor") < 5
    assert found == {"status": "ok", "database": "ok", "broker": "ok"}


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
