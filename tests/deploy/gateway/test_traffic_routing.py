"""Requests shared between revisions: by weight, by caller, and copied to a shadow."""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from deploy.events import invalidate_route
from deploy.gateway.shadowing import are_alike
from deploy.models import KeySlot, Replica, ReplicaState, Revision, Service, ServiceState, Traffic
from deploy.rollout.traffic_policy import set_options, split_traffic, update
from deploy.service_options import AutoscaleOptions
from deploy.services import deploy
from tests.deploy.conftest import RegisterModel
from tests.deploy.fake_replicas import Behaviour, FakeReplica, answers, replica, sends, waits
from tests.waiting import wait_for
from workspace.models import ComputeTarget, Team

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


class TwoRevisions:
    """A service with two revisions, each of one replica that does as a test tells it."""

    def __init__(self, web: str, service: Service, key: str, fakes: list[FakeReplica]) -> None:
        self.web = web
        self.service = service
        self.key = key
        self.fakes = fakes

    def ask(self, **headers: str) -> str:
        place = urlsplit(self.web)
        with closing(http.client.HTTPConnection(place.netloc, timeout=30)) as connection:
            path = "/api/v1/teams/default/services/digits/score"
            bearer = {"Authorization": f"Bearer {self.key}"}
            connection.request("POST", path, b'{"instances": [1]}', bearer | headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content
            return str(json.loads(content)["by"])


MakePair = Callable[..., TwoRevisions]


@pytest.fixture
def pair(
    web: str, team: Team, bob: User, target: ComputeTarget, register: RegisterModel
) -> Iterator[MakePair]:
    with ExitStack() as stack:

        def make(*behaviours: Behaviour, is_shadow: bool = False) -> TwoRevisions:
            made = deploy(team=team, by=bob, name="digits", version=register(), target=target)
            Revision.objects.update(verified_at=timezone.now())
            update(service=made.service, by=bob, version=register(), is_shadow=is_shadow)
            Revision.objects.update(verified_at=timezone.now())
            fakes = [stack.enter_context(replica(behaviour)) for behaviour in behaviours]
            for number, fake in enumerate(fakes, 1):
                Replica.objects.create(
                    revision=made.service.revisions.get(number=number),
                    number=number,
                    address=fake.address,
                    state=ReplicaState.READY,
                )
            return TwoRevisions(web, made.service, made.keys[KeySlot.PRIMARY], fakes)

        yield make


ONE, TWO = answers(b'{"by": "one", "y": [1.0]}'), answers(b'{"by": "two", "y": [2.0]}')


def test_all_requests_go_to_the_newest_revision_that_is_proven(pair: MakePair) -> None:
    there = pair(ONE, TWO)
    assert {there.ask() for _ in range(20)} == {"two"}
    Revision.objects.filter(number=2).update(verified_at=None)
    wait_for(lambda: there.ask() == "one", "the unproven one to be left out")
    assert {there.ask() for _ in range(20)} == {"one"}


def test_requests_are_shared_by_percentage(pair: MakePair, bob: User) -> None:
    there = pair(ONE, TWO)
    split_traffic(service=there.service, by=bob, weights={1: 75, 2: 25})
    counts = Counter(there.ask() for _ in range(400))
    assert 60 <= counts["two"] <= 140


def test_a_header_keeps_its_caller_with_one_revision(pair: MakePair, bob: User) -> None:
    there = pair(ONE, TWO)
    split_traffic(service=there.service, by=bob, weights={1: 50, 2: 50})
    set_options(service=there.service, by=bob, options={"sticky_by": "x-user"})

    def asked_by(user: str) -> set[str]:
        return {there.ask(**{"X-User": user}) for _ in range(5)}

    found = [asked_by(f"user-{number}") for number in range(20)]
    assert all(len(revisions) == 1 for revisions in found)
    assert set.union(*found) == {"one", "two"}
    assert {there.ask() for _ in range(40)} == {"one", "two"}, "chance, without the header"


def test_a_key_keeps_its_caller_with_one_revision(pair: MakePair, bob: User) -> None:
    there = pair(ONE, TWO)
    split_traffic(service=there.service, by=bob, weights={1: 50, 2: 50})
    set_options(service=there.service, by=bob, options={"sticky_by": "key"})
    assert len({there.ask() for _ in range(20)}) == 1


def test_what_a_revision_without_replicas_cannot_take_the_other_does(
    pair: MakePair, bob: User
) -> None:
    there = pair(ONE)
    split_traffic(service=there.service, by=bob, weights={1: 50, 2: 50})
    assert {there.ask() for _ in range(20)} == {"one"}


def test_what_a_revision_that_died_does_not_answer_the_other_does(
    pair: MakePair, bob: User
) -> None:
    there = pair(ONE, sends(b""))
    split_traffic(service=there.service, by=bob, weights={1: 50, 2: 50})
    assert {there.ask() for _ in range(20)} == {"one"}
    assert there.fakes[1].requests


def test_a_service_that_does_not_wake_is_given_up_with_the_reason(
    pair: MakePair, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.scale_from_zero.WAIT_SECONDS", 0.3)
    there = pair()
    set_options(
        service=there.service,
        by=bob,
        options={"autoscale": vars(AutoscaleOptions(idle_seconds=30))},
    )
    with pytest.raises(AssertionError, match="was scaled to zero and did not start within 0 s"):
        there.ask()
    assert Service.objects.get().wake_requested_at is not None
    Service.objects.update(state=ServiceState.FAILED, state_reason="It is broken.")

    def says_why() -> bool:
        with pytest.raises(AssertionError) as caught:
            there.ask()
        return "it is Failed: It is broken" in str(caught.value)

    wait_for(says_why, "the failure to be told")


def test_a_service_that_sleeps_beside_its_shadow_is_woken(
    pair: MakePair, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.gateway.scale_from_zero.WAIT_SECONDS", 0.3)
    there = pair(ONE, TWO, is_shadow=True)
    set_options(
        service=there.service,
        by=bob,
        options={"autoscale": vars(AutoscaleOptions(idle_seconds=30))},
    )
    Replica.objects.filter(revision__number=1).delete()
    with pytest.raises(AssertionError, match="was scaled to zero and did not start within 0 s"):
        there.ask()
    assert Service.objects.get().wake_requested_at is not None


def test_what_a_replica_that_was_stopped_leaves_goes_to_those_that_came_meanwhile(
    pair: MakePair,
) -> None:
    over = threading.Event()
    there = pair(waits(over, sends(b"")), TWO)
    newer = Replica.objects.filter(revision__number=2)
    newer.update(state=ReplicaState.STARTING)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(there.ask)
        wait_for(lambda: there.fakes[0].requests, "the request to arrive at the old one")
        newer.update(state=ReplicaState.READY)
        Replica.objects.filter(revision__number=1).delete()
        invalidate_route("default", "digits")
        over.set()
        assert asked.result() == "two"


def test_a_shadow_gets_copies_and_nobody_waits_for_it(pair: MakePair) -> None:
    over = threading.Event()
    there = pair(ONE, waits(over, TWO), is_shadow=True)
    assert {there.ask() for _ in range(40)} == {"one"}
    shadow = there.fakes[1]
    wait_for(lambda: shadow.requests, "a copy to arrive")
    assert b'{"instances": [1]}' in shadow.requests[0]
    assert there.key.encode() not in shadow.requests[0]
    assert len(shadow.requests) <= 16, "copies have a limit while the shadow does not answer"
    over.set()


@pytest.mark.parametrize(
    ("shadow", "mismatches"),
    [(answers(b'{"by": "one", "y": [1.0000001]}'), 0), (TWO, 3), (sends(b""), 3)],
    ids=["alike", "another answer", "no answer"],
)
def test_answers_of_a_shadow_that_differ_are_counted(
    pair: MakePair, shadow: Behaviour, mismatches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.traffic.counters.INTERVAL_SECONDS", 1)
    there = pair(ONE, shadow, is_shadow=True)
    for _ in range(3):
        assert there.ask() == "one"

    def rows() -> list[Traffic]:
        found = list(Traffic.objects.filter(revision__number=2))
        counted = sum(row.requests for row in found), sum(row.mismatches for row in found)
        return found if counted == (3, mismatches) else []

    wait_for(rows, f"3 copies of which {mismatches} differ to be counted")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (b'{"y": [1.0, 2]}', b'{"y": [1.0000001, 2.0]}', True),
        (b'{"y": [1.0, 2]}', b'{"y": [1.1, 2]}', False),
        (b'{"y": [1.0, 2]}', b'{"y": [1.0]}', False),
        (b'{"y": 1}', b'{"z": 1}', False),
        (b'{"y": true}', b'{"y": 1}', False),
        (b'{"y": "a"}', b'{"y": "a"}', True),
        (b'{"y": NaN}', b'{ "y": NaN }', True),
        (b"no JSON", b"no JSON", True),
        (b"no JSON", b"none either", False),
    ],
)
def test_answers_are_alike_but_for_the_last_digits(
    one: bytes, other: bytes, expected: bool
) -> None:
    assert are_alike(one, other) is expected
