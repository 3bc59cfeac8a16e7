"""What the state of a service is: a table of sentences."""

from datetime import timedelta

import pytest

from deploy.decisions import Seen, pause_after, state_of
from deploy.models import ServiceState

S = ServiceState

TABLE = {
    "nothing is there yet": (Seen(True, 1, 0), S.TRANSITIONING, "The model is being loaded."),
    "its environment is being made": (
        Seen(True, 1, 0, preparing="Wait."),
        S.TRANSITIONING,
        "Wait.",
    ),
    "all are ready": (Seen(True, 2, 2), S.HEALTHY, ""),
    "more than all are ready": (Seen(True, 1, 2), S.HEALTHY, ""),
    "some are ready, others start": (
        Seen(True, 2, 1, living=2),
        S.TRANSITIONING,
        "1 of 2 replicas is ready. The model is being loaded.",
    ),
    "one is asked to be more": (
        Seen(True, 2, 1, was=S.HEALTHY),
        S.TRANSITIONING,
        "1 of 2 replicas is ready. The model is being loaded.",
    ),
    "one of two is hung": (
        Seen(True, 2, 1, unhealthy=1, was=S.HEALTHY, trouble="server-1 is not ready."),
        S.UNHEALTHY,
        "1 of 2 replicas is ready. server-1 is not ready.",
    ),
    "the only one died": (
        Seen(True, 1, 0, was=S.HEALTHY, trouble="server-0 died."),
        S.UNHEALTHY,
        "0 of 1 replicas are ready. server-0 died.",
    ),
    "the one that died is being replaced": (
        Seen(True, 1, 0, was=S.UNHEALTHY, living=1),
        S.UNHEALTHY,
        "0 of 1 replicas are ready. The model is being loaded.",
    ),
    "it was replaced": (Seen(True, 1, 1, was=S.UNHEALTHY), S.HEALTHY, ""),
    "it died before it was ever ready": (
        Seen(True, 1, 0, trouble="server-0 died."),
        S.TRANSITIONING,
        "server-0 died.",
    ),
    "it failed for good": (Seen(True, 1, 0, failure="No."), S.FAILED, "No."),
    "it failed for good, one still serves": (
        Seen(True, 2, 1, failure="No."),
        S.UNHEALTHY,
        "1 of 2 replicas is ready. No.",
    ),
    "a new revision starts": (
        Seen(True, 1, 0, ready_of_older=1, revision=2, was=S.HEALTHY),
        S.TRANSITIONING,
        "Revision 2 is starting; the one before it still serves. The model is being loaded.",
    ),
    "a new revision failed": (
        Seen(True, 1, 0, ready_of_older=1, revision=2, failure="No."),
        S.UNHEALTHY,
        "Revision 2 failed; the one before it still serves. No.",
    ),
    "a new revision failed while the one before it sleeps": (
        Seen(True, 1, 0, is_older_asleep=True, revision=2, failure="No."),
        S.UNHEALTHY,
        "Revision 2 failed; the one before it sleeps until it is asked. No.",
    ),
    "it is being stopped": (Seen(False, 1, 1, living=1), S.TRANSITIONING, "Stopping."),
    "it is stopped": (Seen(False, 1, 0), S.STOPPED, ""),
    "it is stopped after a failure": (Seen(False, 1, 0, failure="No."), S.STOPPED, ""),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_state_follows_from_what_is_seen(case: str) -> None:
    seen, state, reason = TABLE[case]
    assert state_of(seen) == (state, reason)


def test_pauses_grow_up_to_a_minute() -> None:
    seconds = [pause_after(deaths) / timedelta(seconds=1) for deaths in range(10)]
    assert seconds == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
