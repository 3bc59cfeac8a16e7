"""Inputs held against a baseline: the index itself, and the page."""

import json
import math
import random
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from deploy.models import LoggedRequest, Service
from deploy.services import deploy
from deploy.traffic.baselines import read_instances
from deploy.traffic.drift import (
    MIN_ROWS,
    DriftLevel,
    FeatureHistogram,
    FeatureKind,
    baseline_of,
    compare,
    population_stability_index,
    rows_in,
)
from tests.deploy.conftest import RegisterModel
from workspace.models import ComputeTarget, Team
from workspace.platform.errors import Invalid

PAGE = "/t/default/services/digits/drift/"


def people(count: int, mean: float = 40.0, cats: float = 0.5) -> list[dict[str, Any]]:
    chance = random.Random(7)  # noqa: S311 (the same values each time)
    return [
        {
            "age": chance.gauss(mean, 10),
            "pet": "cat" if chance.random() < cats else "dog",
            "sizes": [chance.random(), 3],
        }
        for _ in range(count)
    ]


def verdicts(then: list[Any], now: list[Any]) -> dict[str, DriftLevel]:
    return {one.name: one.verdict for one in compare(baseline_of(rows_in(then)), rows_in(now))}


def test_what_stays_is_steady_and_what_moves_is_seen() -> None:
    same = verdicts(people(1000), people(500))
    assert set(same) == {"age", "pet", "sizes[0]", "sizes[1]"}
    assert set(same.values()) == {DriftLevel.STEADY}
    moved = verdicts(people(1000), people(500, mean=52, cats=0.9))
    assert moved["age"] == moved["pet"] == DriftLevel.DRIFTED
    assert moved["sizes[0]"] == DriftLevel.STEADY


@pytest.mark.parametrize("count", [MIN_ROWS, 300, 3000])
@pytest.mark.slow
def test_chance_alone_is_no_drift(count: int) -> None:
    chance = random.Random(count)  # noqa: S311 (the same values each time)
    wrong = 0
    for _ in range(50):
        then = [{"x": chance.gauss(0, 1)} for _ in range(count)]
        now = [{"x": chance.gauss(0, 1)} for _ in range(count)]
        wrong += verdicts(then, now)["x"] == DriftLevel.DRIFTED
    assert wrong == 0


def test_the_index_is_that_of_the_books() -> None:
    psi, expected_by_chance = population_stability_index([10_000, 10_000], [12_000, 8_000])
    assert psi == pytest.approx(0.1 * math.log(0.6 / 0.5) - 0.1 * math.log(0.4 / 0.5), rel=1e-3)
    assert expected_by_chance == pytest.approx((1 + 2 * math.sqrt(2)) * 2 / 20_000, rel=1e-3)


COUNTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=12)


@given(COUNTS)
def test_the_index_is_never_negative_and_the_same_both_ways(pairs: list[tuple[int, int]]) -> None:
    then, now = [a for a, _ in pairs], [b for _, b in pairs]
    psi, _ = population_stability_index(then, now)
    assert psi >= 0
    assert psi == pytest.approx(population_stability_index(now, then)[0], abs=1e-9)


@pytest.mark.parametrize(
    ("body", "features"),
    [
        ({"instances": [1, 2]}, [{"input": 1}, {"input": 2}]),
        ({"instances": [{"a": 1}]}, [{"a": 1}]),
        ({"inputs": {"a": [1, 2], "b": [[3], [4]]}}, [{"a": 1, "b": 3}, {"a": 2, "b": 4}]),
        ({"inputs": [[5, 6]]}, [{"input[0]": 5, "input[1]": 6}]),
        ([{"a": "x"}], [{"a": "x"}]),
        ({"instances": [[0.0] * 49 + [5.0]]}, [{"input (mean)": 0.1, "input (spread)": 0.7}]),
        ({"instances": [{"a": 1, "b": "[redacted]"}, "[redacted]"]}, [{"a": 1}]),
        ({"instances": "no"}, []),
        ({"other": 1}, []),
        ("text", []),
        (None, []),
    ],
)
def test_features_are_read_from_bodies(body: Any, features: list[dict[str, Any]]) -> None:
    assert [pytest.approx(row) if "mean" in str(row) else row for row in features] == rows_in(body)


def test_odd_values_are_counted_apart() -> None:
    numbers: list[Any] = [{"x": float(n)} for n in range(200)]
    then = baseline_of(rows_in(numbers))["x"]
    now = then.counted([math.nan, math.inf, None, "text", True, 10**400, 5])
    assert now.counts[-1] == 6
    assert then.labels[-1] == "no number"
    assert FeatureHistogram.from_json(json.loads(json.dumps(then.to_json()))) == then
    names = baseline_of([{"x": f"n{n % 40}"} for n in range(400)])["x"]
    assert (names.kind, len(names.edges), names.counts[-1]) == (FeatureKind.CATEGORY, 20, 200)


ODD_INSTANCES = [
    pytest.param([1e200] * 40, id="whose-squares-are-too-large"),
    pytest.param([1.7e308] * 40, id="whose-sum-is-too-large"),
    pytest.param(1.7e308, id="the-largest-number"),
    pytest.param("a\0b", id="nul"),
    pytest.param("\ud800", id="half-a-character"),
    pytest.param({"\0\udfff": 1}, id="odd-name"),
    pytest.param({"x" * 100_000: 1}, id="long-name"),
]


@pytest.mark.parametrize("odd", ODD_INSTANCES)
def test_whatever_an_instance_holds_its_baseline_can_be_kept_and_compared(odd: Any) -> None:
    rows = rows_in([odd, 1.6e308, 0, {"age": 3}] * 50)

    baseline = baseline_of(rows)

    kept = json.dumps({name: one.to_json() for name, one in baseline.items()}, allow_nan=False)
    assert not {"\\u0000", "\\ud800", "\\udfff"} & set(re.findall(r"\\u[0-9a-f]{4}", kept))
    assert len(kept) < 10_000
    assert {one.verdict for one in compare(baseline, rows)} == {DriftLevel.STEADY}


def test_files_are_read_in_three_forms() -> None:
    rows = [{"a": 1}, {"a": 2}]
    whole = json.dumps(rows).encode()
    lines = b'{"a": 1}\n\n{"a": 2}\n'
    body = json.dumps({"instances": rows}).encode()
    assert read_instances(whole) == read_instances(lines) == read_instances(body) == rows
    for bad in (b"a,b\n1,2\n", b"[" * 100_000, b"\xff\xfe", b"{"):
        with pytest.raises(Invalid, match="Use JSON"):
            read_instances(bad)


def test_one_request_with_odd_numbers_takes_the_page_from_nobody(
    client: Client, bob: User, service: Service
) -> None:
    client.force_login(bob)
    keep(service, people(200))
    client.post(f"{PAGE}baseline/", {"source": "requests"})
    keep(service, [*people(150), [1.7e308] * 40, {"\0": "\ud800"}])

    assert "steady" in client.get(PAGE).content.decode()
    assert client.post(f"{PAGE}baseline/", {"source": "requests"}).status_code == 302


@pytest.fixture
def service(team: Team, bob: User, register: RegisterModel, target: ComputeTarget) -> Service:
    return deploy(team=team, by=bob, name="digits", version=register(), target=target).service


def keep(service: Service, rows: list[Any], status: int = 200) -> None:
    LoggedRequest.objects.bulk_create(
        LoggedRequest(
            service=service,
            revision=service.revisions.get(),
            status=status,
            seconds=0.01,
            request=json.dumps({"instances": [row]}),
        )
        for row in rows
    )


def test_the_page_tells_what_drifted_from_the_kept_requests(
    client: Client, bob: User, service: Service
) -> None:
    client.force_login(bob)
    assert "No baseline" in client.get(PAGE).content.decode()
    keep(service, people(MIN_ROWS - 1))
    keep(service, people(50), status=400)
    refused = client.post(f"{PAGE}baseline/", {"source": "requests"}, follow=True)
    assert "at least 100 instances" in refused.content.decode()
    keep(service, people(300))
    assert client.post(f"{PAGE}baseline/", {"source": "requests"}).status_code == 302
    assert "100 more" in client.get(PAGE).content.decode()
    keep(service, people(200, mean=60))
    page = client.get(PAGE).content.decode()
    assert "drifted" in page
    assert page.index("age") < page.index("sizes[0]")
    client.post(f"{PAGE}clear/")
    assert "No baseline" in client.get(PAGE).content.decode()
    actions = {entry.action for entry in service.team.audit_entries.all()}
    assert {"service.set_baseline", "service.clear_baseline"} <= actions


def test_a_file_is_a_baseline_too(client: Client, bob: User, service: Service) -> None:
    client.force_login(bob)
    file = SimpleUploadedFile("rows.json", json.dumps(people(150)).encode())
    assert client.post(f"{PAGE}baseline/", {"file": file}).status_code == 302
    service.refresh_from_db()
    assert (service.baseline["rows"], service.baseline["source"]) == (150, "file")
    bad = SimpleUploadedFile("rows.csv", b"a,b\n1,2\n")
    answer = client.post(f"{PAGE}baseline/", {"file": bad}, follow=True)
    assert "Use JSON" in answer.content.decode()


def test_the_api_sets_and_tells_drift(client: Client, bob: User, service: Service) -> None:
    client.force_login(bob)
    address = "/api/v1/teams/default/services/digits/drift"
    assert client.get(address).json() == {"baseline": None, "rows": 0, "features": []}
    keep(service, people(300))
    made = client.put(address, {"source": "requests"}, content_type="application/json")
    assert made.status_code == 200
    keep(service, people(200, mean=60))
    told = client.get(address).json()
    assert (told["baseline"]["rows"], told["rows"]) == (300, 200)
    assert told["features"][0]["name"] == "age"
    assert told["features"][0]["verdict"] == "drifted"
    sent = client.put(address, {"instances": people(120)}, content_type="application/json")
    assert sent.json()["baseline"]["source"] == "file"
    few = client.put(address, {"instances": [1]}, content_type="application/json")
    assert few.status_code == 400
    assert client.delete(address).status_code == 204


def test_viewers_see_drift_and_change_nothing(
    client: Client, vera: User, charlie: User, service: Service
) -> None:
    client.force_login(vera)
    assert client.get(PAGE).status_code == 200
    assert client.post(f"{PAGE}baseline/", {"source": "requests"}).status_code == 403
    assert client.post(f"{PAGE}clear/").status_code == 403
    client.force_login(charlie)
    assert client.get(PAGE).status_code == 404
