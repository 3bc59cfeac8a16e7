"""The requests that a service keeps: which of them, how much of each, and for whom."""

import gzip
import json
from typing import Any

import pytest
from django.contrib.auth.models import User

from deploy.access_policy import AccessChange, change_access
from deploy.models import LoggedRequest, Revision
from deploy.traffic.log_policy import LONGEST_KEPT, REDACTED, LogPolicy, request_text
from deploy.traffic.request_log import RequestLog, RequestRecord, write_requests
from tests.deploy.fake_replicas import answers, sends
from tests.deploy.gateway_client import SCORE, GatewayClient, MakeFront
from tests.factories import make_token
from tests.waiting import wait_for
from workspace.models import AuditEntry, Scope

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

REQUESTS = SCORE.replace("/score", "/requests")


@pytest.fixture(autouse=True)
def _short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.traffic.counters.INTERVAL_SECONDS", 0.3)


def keep(there: GatewayClient, by: User, sample: float = 1.0, *redact: str) -> None:
    change = AccessChange(request_log=LogPolicy(sample=sample, redact=redact))
    change_access(service=there.service, by=by, change=change)


def kept(count: int) -> list[LoggedRequest]:
    wait_for(lambda: LoggedRequest.objects.count() == count, f"{count} requests in the log")
    return list(LoggedRequest.objects.order_by("pk"))


def test_nothing_is_kept_unless_asked_for(front: MakeFront, bob: User) -> None:
    there = front(answers(b"{}"))
    there.ask(b'{"instances": [1]}')
    keep(there, bob)
    there.ask(b'{"instances": [2]}')
    assert [logged.request for logged in kept(1)] == ['{"instances": [2]}']


def test_a_kept_request_tells_who_when_what_and_how_it_went(front: MakeFront, bob: User) -> None:
    there = front(answers(b'{"predictions": [3]}'))
    keep(there, bob)
    there.ask(b'{"instances": [1]}')
    token = make_token(bob, Scope.WRITE)
    there.ask(b'{"instances": [2]}', secret=token)
    first, second = kept(2)
    assert (first.request, first.answer) == ('{"instances": [1]}', '{"predictions": [3]}')
    assert (first.status, first.principal, second.principal) == (200, "primary key", "bob")
    assert first.revision == Revision.objects.get()
    assert 0 < first.seconds < 30
    everything = json.dumps(list(LoggedRequest.objects.values()), default=str)
    assert there.key not in everything
    assert token not in everything


def test_a_share_of_the_requests_is_kept(front: MakeFront, bob: User) -> None:
    there = front(answers(b"{}"))
    keep(there, bob, 0.5)
    for number in range(200):
        there.ask(b'{"instances": [%d]}' % number)
    wait_for(lambda: LoggedRequest.objects.count() > 40, "some requests in the log")
    keep(there, bob, 1.0)
    there.ask(b'{"instances": ["last"]}')
    wait_for(lambda: LoggedRequest.objects.filter(request__contains="last").exists(), "the last")
    assert 50 < LoggedRequest.objects.count() < 150


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"instances": [{"age": 1, "x": 2}]}, {"instances": [{"age": REDACTED, "x": 2}]}),
        ({"inputs": {"age": [1], "x": [2]}}, {"inputs": {"age": REDACTED, "x": [2]}}),
        ({"instances": [[1, 2], [3, 4]]}, {"instances": [REDACTED, REDACTED]}),
        ({"inputs": [1, 2]}, {"inputs": REDACTED}),
        (
            {"signature_name": "s", "instances": [{"x": {"b64": "QQ=="}}], "age": 5},
            {"signature_name": "s", "instances": [{"x": {"b64": "QQ=="}}]},
        ),
        (
            {"examples": [{"age": 1, "x": 2}], "context": {"age": 3}},
            {"examples": [{"age": REDACTED, "x": 2}], "context": {"age": REDACTED}},
        ),
        ([1], REDACTED),
    ],
)
def test_inputs_are_redacted_by_name_and_those_without_a_name_too(body: Any, shown: Any) -> None:
    assert json.loads(request_text(json.dumps(body).encode(), frozenset({"age"}))) == shown


@pytest.mark.parametrize(
    "body",
    [b"{broken", gzip.compress(b"{}", mtime=0), b" " * 2_000_000],
    ids=["broken", "packed", "blanks"],
)
def test_what_cannot_be_redacted_is_not_kept(body: bytes) -> None:
    assert request_text(body, frozenset({"age"})).startswith("(not kept:")


def test_a_redacted_input_does_not_reach_the_database(front: MakeFront, bob: User) -> None:
    quoting = b'{"error": "age 4711 is too much"}'
    there = front(
        sends(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%s" % (len(quoting), quoting))
    )
    keep(there, bob, 1.0, "age")
    there.ask(b'{"instances": [{"age": 4711, "x": 1}]}')
    [logged] = kept(1)
    assert "4711" not in logged.request + logged.answer
    assert '"x": 1' in logged.request


def test_long_bodies_are_cut_and_others_than_text_named(front: MakeFront, bob: User) -> None:
    there = front(answers(b"x" * 100_000))
    keep(there, bob)
    there.call(json.dumps({"inputs": "é" * 100_000}, ensure_ascii=False).encode())
    there.call(gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})
    there.call(b'{"inputs": "\x00"}')
    long, packed, zero = kept(3)
    assert len(long.request.encode()) <= LONGEST_KEPT
    assert len(long.request) > LONGEST_KEPT / 2 - 20
    assert long.answer == "x" * LONGEST_KEPT
    assert packed.request.endswith("bytes that are no text)")
    assert "\x00" not in zero.request


def test_the_newest_are_kept_and_older_ones_dropped(
    front: MakeFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.traffic.request_log.MAX_LOGGED", 10)
    there = front()
    revision = Revision.objects.get()
    for start in range(0, 30, 6):
        write_requests(
            [
                RequestRecord(there.service.pk, revision.pk, "", 200, 0.1, b"%d" % number, b"")
                for number in range(start, start + 6)
            ]
        )
    kept = LoggedRequest.objects.order_by("pk").values_list("request", flat=True)
    assert list(kept) == [str(number) for number in range(20, 30)]


def test_what_waits_to_be_written_is_bounded() -> None:
    log = RequestLog()
    for _ in range(10_000):
        log.add(RequestRecord(1, 1, "", 200, 0.1, b"x" * 1_000_000, b"y" * 1_000_000))
    waiting = log.take_waiting()
    assert sum(len(one.request) + len(one.answer) for one in waiting) <= 16 * 1024 * 1024
    assert log.take_waiting() == []


# Over REST


def test_members_read_the_log_page_by_page(front: MakeFront, bob: User, vera: User) -> None:
    there = front()
    revision = Revision.objects.get()
    write_requests(
        [
            RequestRecord(there.service.pk, revision.pk, "", 200, 0.1, b"%d" % number, b"{}")
            for number in range(120)
        ]
    )
    token = make_token(bob, Scope.READ)
    found: list[str] = []
    cursor = ""
    for _ in range(3):
        status, page = there.ask(
            None, method="GET", path=f"{REQUESTS}?cursor={cursor}", secret=token
        )
        assert status == 200
        found += [logged["request"] for logged in page["requests"]]
        cursor = page["next_cursor"]
    assert cursor == ""
    assert found == [str(number) for number in reversed(range(120))]
    path = f"{REQUESTS}?cursor=x"
    assert there.ask(None, method="GET", path=path, secret=token)[0] == 400
    viewer = make_token(vera, Scope.READ)
    assert there.ask(None, method="GET", path=REQUESTS, secret=viewer)[0] == 403


def test_the_log_is_cleared_and_the_clearing_on_record(front: MakeFront, bob: User) -> None:
    there = front()
    write_requests(
        [RequestRecord(there.service.pk, Revision.objects.get().pk, "", 200, 0.1, b"", b"")]
    )
    answer = there.call(None, method="DELETE", path=REQUESTS, secret=make_token(bob, Scope.WRITE))
    assert answer.status == 204
    assert not LoggedRequest.objects.exists()
    assert AuditEntry.objects.get(action="service.delete_logged_requests").data == {"requests": 1}
