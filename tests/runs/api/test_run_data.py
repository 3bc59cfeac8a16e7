"""Logs and usage over REST: by byte, by line, by search; nothing for strangers."""

from typing import Any

import pytest
from django.test import Client

from runs.logs.log_file import build_log_of, log_of
from runs.metrics.usage import MAX_SAMPLES, thin
from runs.models import ProcessGroup, Run, UsageSample
from tests.factories import bearer, make_environment, make_team
from tests.runs.ingest.runner_calls import process_of, running
from workspace.models import Team

pytestmark = pytest.mark.django_db


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    return running(team, "worker-0", "worker-1")


@pytest.fixture
def run(group: ProcessGroup) -> Run:
    return Run.objects.select_related("team").get(attempts=group)


@pytest.fixture
def get(client: Client, run: Run, vera: Any) -> Any:
    headers = bearer(vera)

    def ask(path: str) -> Any:
        address = f"/api/v1/teams/{run.team.slug}/runs/{run.number}/{path}"
        return client.get(address, headers=headers)

    return ask


def write(group: ProcessGroup, process: str, content: bytes) -> None:
    log = log_of(group.label, process)
    log.append(log.size(), content)


def body_of(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def test_a_log_is_given_from_an_offset_on_as_it_is(get: Any, group: ProcessGroup) -> None:
    write(group, "worker-0", b"one\n\x00\xff<script>\n")
    answer = get("logs/worker-0?offset=4")
    assert body_of(answer) == b"\x00\xff<script>\n"
    assert answer["X-Next-Offset"] == "15"
    assert answer["Content-Type"].startswith("text/plain")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert body_of(get("logs/worker-0?offset=15")) == b""
    assert get("logs/worker-0?offset=100")["X-Next-Offset"] == "100"


def test_a_large_log_is_given_whole(get: Any, group: ProcessGroup) -> None:
    content = b"0123456789abcde\n" * 200_000
    write(group, "worker-0", content)
    answer = get("logs/worker-0")
    assert answer["Content-Length"] == str(len(content))
    assert body_of(answer) == content


def test_the_merged_log_can_be_downloaded(get: Any, group: ProcessGroup) -> None:
    write(group, "worker-0", b"a\n")
    write(group, "worker-1", b"b\n")
    assert body_of(get("logs/merged")) == b"worker-0 | a\nworker-1 | b\n"


def test_lines_tell_where_the_socket_goes_on(get: Any, group: ProcessGroup) -> None:
    write(group, "worker-0", b"one\ntwo\nthr")
    assert get("logs/worker-0/lines?first=-2&count=2").json() == {
        "first": 1,
        "total": 3,
        "lines": ["two", "thr"],
        "size": 11,
        "complete": False,
    }
    assert get("logs/worker-0/lines?first=0&count=1").json()["lines"] == ["one"]


def test_ten_megabytes_in_one_line_make_a_small_answer(get: Any, group: ProcessGroup) -> None:
    write(group, "worker-0", b"x" * 10_000_000 + b"\nafter\n")
    answer = get("logs/worker-0/lines?first=0&count=100")
    assert len(answer.content) < 50_000
    assert answer.json()["lines"][1] == "after"


def test_a_search_gives_the_lines_and_goes_on_where_it_ended(get: Any, group: ProcessGroup) -> None:
    write(group, "worker-0", b"Epoch 1\nloss\nepoch 2\nEPOCH 3\n")
    first = get("logs/worker-0/search?q=epoch&limit=2").json()
    assert [match["line"] for match in first["matches"]] == [0, 2]
    assert not first["is_done"]
    rest = get(f"logs/worker-0/search?q=epoch&from={first['scanned_to']}").json()
    assert rest == {
        "matches": [{"line": 3, "text": "EPOCH 3"}],
        "scanned_to": 4,
        "is_done": True,
    }


def test_the_log_of_the_build_is_one_of_them(get: Any, run: Run) -> None:
    run.environment = make_environment()
    run.save()
    build_log_of(run.environment).append(0, b"Resolved\n")
    assert get("logs/build/lines").json()["lines"] == ["Resolved"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("logs/worker-0?offset=-1", "offset"),
        ("logs/worker-0?offset=x", "offset"),
        ("logs/worker-0/lines?count=0", "count"),
        ("logs/worker-0/lines?count=1000000", "count"),
        ("logs/worker-0/lines?first=1e9", "first"),
        ("logs/worker-0/search", "q"),
        ("logs/worker-0/search?q=", "q"),
        ("logs/worker-0/search?q=x&from=-1", "from"),
        ("metrics?max_points=0", "max_points"),
        ("metrics?max_points=1000000000", "max_points"),
        ("metrics?from=99999999999999999999", "from"),
        ("usage?max_points=-1", "max_points"),
    ],
)
def test_a_query_that_makes_no_sense_is_answered_400_with_the_field(
    get: Any, group: ProcessGroup, path: str, field: str
) -> None:
    answer = get(path)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("name", ["worker-7", "..", "merged.idx", "%2e%2e%2fsecret_key", "x" * 500])
def test_a_log_that_is_not_there_is_answered_404(get: Any, group: ProcessGroup, name: str) -> None:
    assert get(f"logs/{name}/lines").status_code == 404
    assert get(f"logs/{name}").status_code == 404


def test_a_run_that_waits_has_no_logs_yet(get: Any, run: Run, group: ProcessGroup) -> None:
    group.delete()
    assert get("logs/worker-0/lines").status_code == 404
    assert get("metrics").json() == {"series": [], "left_out": ""}
    assert get("usage").json() == {"processes": []}
    assert get("files").json() == {"files": [], "total_bytes": 0}


def test_usage_is_given_by_process(get: Any, group: ProcessGroup) -> None:
    for number in range(10):
        UsageSample.objects.create(process=process_of(group), cpus=number, memory_bytes=number)
    processes = get("usage?max_points=5").json()["processes"]
    assert [one["process"] for one in processes] == ["worker-0", "worker-1"]
    assert [sample["cpus"] for sample in processes[0]["samples"]] == [1, 3, 5, 7, 9]
    assert len(get("usage?process=worker-1").json()["processes"]) == 1
    assert get("usage?process=ps-9").status_code == 404


def test_usage_of_a_long_run_is_thinned_with_age(group: ProcessGroup) -> None:
    process = process_of(group)
    UsageSample.objects.bulk_create(
        UsageSample(process=process, cpus=number, memory_bytes=0)
        for number in range(MAX_SAMPLES + 1)
    )
    thin(process.pk)
    kept = list(UsageSample.objects.order_by("pk").values_list("cpus", flat=True))
    assert len(kept) == MAX_SAMPLES + 1 - MAX_SAMPLES // 4
    assert kept[:3] == [0, 2, 4]
    assert kept[-3:] == [MAX_SAMPLES - 2, MAX_SAMPLES - 1, MAX_SAMPLES]


@pytest.mark.parametrize(
    "path", ["logs/worker-0", "logs/worker-0/lines", "logs/worker-0/search?q=x", "metrics", "usage"]
)
def test_strangers_see_nothing_and_another_team_reaches_no_run_of_this_one(
    client: Client, group: ProcessGroup, run: Run, vera: Any, charlie: Any, path: str
) -> None:
    address = f"/api/v1/teams/{run.team.slug}/runs/{run.number}/{path}"
    assert client.get(address, headers=bearer(charlie)).status_code == 404
    assert client.get(address).status_code == 401
    other = make_team("other", viewer=vera)
    address = f"/api/v1/teams/{other.slug}/runs/{run.number}/{path}"
    assert client.get(address, headers=bearer(vera)).status_code == 404
