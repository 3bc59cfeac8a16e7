"""What the state of a service is: a table of sentences."""

from datetime import timedelta

import pytest

from deploy.models import ServiceState
from deploy.supervision.service_state import ServiceView, restart_backoff, state_of

S = ServiceState

TABLE = {
    "nothing is there yet": (
        ServiceView(True, 1, 0),
        S.TRANSITIONING,
        "The model is being loaded.",
    ),
    "its environment is being made": (
        ServiceView(True, 1, 0, preparing="Wait."),
        S.TRANSITIONING,
        "Wait.",
    ),
    "all are ready": (ServiceView(True, 2, 2), S.HEALTHY, ""),
    "more than all are ready": (ServiceView(True, 1, 2), S.HEALTHY, ""),
    "some are ready, others start": (
        ServiceView(True, 2, 1, living=2),
        S.TRANSITIONING,
        "1 of 2 replicas is ready. The model is being loaded.",
    ),
    "one is asked to be more": (
        ServiceView(True, 2, 1, was=S.HEALTHY),
        S.TRANSITIONING,
        "1 of 2 replicas is ready. The model is being loaded.",
    ),
    "one of two is hung": (
        ServiceView(True, 2, 1, unhealthy=1, was=S.HEALTHY, problem="server-1 is not ready."),
        S.UNHEALTHY,
        "1 of 2 replicas is ready. server-1 is not ready.",
    ),
    "the only one died": (
        ServiceView(True, 1, 0, was=S.HEALTHY, problem="server-0 died."),
        S.UNHEALTHY,
        "0 of 1 replicas are ready. server-0 died.",
    ),
    "the one that died is being replaced": (
        ServiceView(True, 1, 0, was=S.UNHEALTHY, living=1),
        S.UNHEALTHY,
        "0 of 1 replicas are ready. The model is being loaded.",
    ),
    "it was replaced": (ServiceView(True, 1, 1, was=S.UNHEALTHY), S.HEALTHY, ""),
    "it died before it was ever ready": (
        ServiceView(True, 1, 0, problem="server-0 died."),
        S.TRANSITIONING,
        "server-0 died.",
    ),
    "it failed for good": (ServiceView(True, 1, 0, failure="No."), S.FAILED, "No."),
    "it failed for good, one still serves": (
        ServiceView(True, 2, 1, failure="No."),
        S.UNHEALTHY,
        "1 of 2 replicas is ready. No.",
    ),
    "a new revision starts": (
        ServiceView(True, 1, 0, previous_ready=1, revision=2, was=S.HEALTHY),
        S.TRANSITIONING,
        "Revision 2 is starting; the previous revision still serves. The model is being loaded.",
    ),
    "a new revision failed": (
        ServiceView(True, 1, 0, previous_ready=1, revision=2, failure="No."),
        S.UNHEALTHY,
        "Revision 2 failed; the previous revision still serves. No.",
    ),
    "a new revision failed while the one before it sleeps": (
        ServiceView(True, 1, 0, previous_is_scaled_to_zero=True, revision=2, failure="No."),
        S.UNHEALTHY,
        "Revision 2 failed; the previous revision is scaled to zero. No.",
    ),
    "it is being stopped": (ServiceView(False, 1, 1, living=1), S.TRANSITIONING, "Stopping."),
    "it is stopped": (ServiceView(False, 1, 0), S.STOPPED, ""),
    "it is stopped after a failure": (ServiceView(False, 1, 0, failure="No."), S.STOPPED, ""),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_state_follows_from_what_is_seen(case: str) -> None:
    seen, state, reason = TABLE[case]
    assert state_of(seen) == (state, reason)


def test_pauses_grow_up_to_a_minute() -> None:
    seconds = [restart_backoff(deaths) / timedelta(seconds=1) for deaths in range(10)]
    assert seconds == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
