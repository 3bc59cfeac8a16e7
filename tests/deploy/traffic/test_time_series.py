"""Traffic put together for charts, and how the page and the API give it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from deploy.models import Revision, Service, Traffic
from deploy.services import deploy
from deploy.traffic.latency_histogram import bucket_of, empty_buckets
from deploy.traffic.time_series import (
    LATE_SECONDS,
    WINDOWS,
    TrafficSum,
    steps_of,
    summed,
    total_of,
)
from tests.deploy.conftest import RegisterModel
from workspace.models import ComputeTarget, Team

TRAFFIC = "/api/v1/teams/default/services/digits/traffic"
PAGE = "/t/default/services/digits/traffic/"


def row(seconds: int, requests: int = 10, took: float = 0.02, **fields: float) -> Traffic:
    latencies = empty_buckets()
    latencies[bucket_of(took)] = requests
    return Traffic(
        revision_id=fields.pop("revision_id", 1),
        at=datetime.fromtimestamp(seconds, UTC),
        requests=requests,
        latencies=latencies,
        **fields,
    )


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_a_window_has_few_enough_steps_and_ends_with_what_is_written(window: timedelta) -> None:
    now = 1_800_000_007.5
    steps = steps_of(window, now)
    assert len(steps) <= 180
    assert len(steps) * steps.step == pytest.approx(window.total_seconds(), rel=0.02)
    assert steps.stop - steps.step <= now - LATE_SECONDS < steps.stop
    assert steps.step % 10 == 0


def test_rows_of_processes_and_spans_add_up() -> None:
    starts = range(1000, 1060, 20)
    rows = [row(1000, 3), row(1000, 2, errors=1), row(1010, 5, took=0.2), row(1020, 1)]
    steps = summed(rows, starts)[1]
    assert {start: one.requests for start, one in steps.items()} == {1000: 10, 1020: 1}
    assert steps[1000].errors == 1
    half, most = steps[1000].milliseconds(50), steps[1000].milliseconds(99)
    assert half == pytest.approx(20)
    assert most is not None
    assert 150 < most <= 200
    assert total_of(steps.values()).requests == 11
    assert TrafficSum().milliseconds(50) is None


@pytest.fixture
def service(team: Team, bob: User, register: RegisterModel, target: ComputeTarget) -> Service:
    return deploy(team=team, by=bob, name="digits", version=register(), target=target).service


def ask(revision: Revision, *, requests: int = 30, errors: int = 3) -> None:
    at = timezone.now() - timedelta(minutes=2)
    latencies = empty_buckets()
    latencies[bucket_of(0.02)] = requests
    Traffic.objects.create(
        revision=revision, at=at, source="a", requests=requests, errors=errors, latencies=latencies
    )


def test_the_api_gives_lines_of_each_revision(client: Client, bob: User, service: Service) -> None:
    ask(service.revisions.get())
    client.force_login(bob)
    given = client.get(TRAFFIC, {"window": "15m"}).json()
    (line,) = given["revisions"]
    assert (line["number"], line["model"]) == (1, "digits:1")
    assert len(line["requests_per_second"]) == len(given["at"])
    assert sum(line["requests_per_second"]) * given["step_seconds"] == pytest.approx(30)
    assert [value for value in line["p95_ms"] if value is not None] == [pytest.approx(19.75)]
    refused = client.get(TRAFFIC, {"window": "1y"})
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "window"


def test_the_page_sums_the_window_up(client: Client, vera: User, service: Service) -> None:
    client.force_login(vera)
    assert "No requests" in client.get(PAGE).content.decode()
    ask(service.revisions.get())
    page = client.get(f"{PAGE}?window=1h").content.decode()
    assert "10.00 %" in page
    assert "19.8 ms" in page
    assert 'hx-trigger="every 5s"' in client.get(f"{PAGE}totals/?window=1h").content.decode()
    assert 'hx-trigger="every 60s"' in client.get(f"{PAGE}totals/?window=7d").content.decode()
    assert client.get(f"{PAGE}?window=1y").status_code == 400


def test_a_stranger_sees_no_traffic(client: Client, charlie: User, service: Service) -> None:
    client.force_login(charlie)
    assert client.get(TRAFFIC).status_code == 404
    assert client.get(PAGE).status_code == 404
