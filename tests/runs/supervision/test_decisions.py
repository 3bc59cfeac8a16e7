"""When is a group over, and why? A table of sentences."""

from datetime import UTC, datetime, timedelta

import pytest

from runs.distribution import Mode
from runs.states import EndReason, ProcessState
from runs.supervision.decisions import (
    EVALUATOR_GRACE,
    ProcessView,
    end_verdict,
    start_timeout_verdict,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUNNING, EXITED = ProcessState.RUNNING, ProcessState.EXITED


def running(name: str, *, is_alive: bool = True) -> ProcessView:
    role, _, index = name.rpartition("-")
    return ProcessView(role, int(index), RUNNING, is_alive=is_alive)


def ended(
    name: str, code: int = 0, *, ago: float = 1.0, reason: str = "", oom: bool = False
) -> ProcessView:
    role, _, index = name.rpartition("-")
    at = NOW - timedelta(seconds=ago)
    return ProcessView(role, int(index), EXITED, code, reason, oom, at, is_alive=False)


PS = Mode.PARAMETER_SERVER
MW = Mode.MULTI_WORKER

TABLE = [
    ("a single process runs", Mode.SINGLE, [running("worker-0")], None, ""),
    ("a single process ended well", Mode.SINGLE, [ended("worker-0")], "completed", "worker-0"),
    ("a single process failed", Mode.SINGLE, [ended("worker-0", 3)], "process_failed", "worker-0"),
    ("one of two workers ended well", MW, [ended("worker-0"), running("worker-1")], None, ""),
    (
        "both ended well",
        MW,
        [ended("worker-0"), ended("worker-1")],
        "completed",
        "worker-0",
    ),
    (
        "the first failure is named, not its echo",
        MW,
        [ended("worker-0", 1, ago=1), ended("worker-1", 137, ago=2)],
        "process_failed",
        "worker-1",
    ),
    (
        "the chief is done, the others serve for ever",
        PS,
        [ended("chief-0"), running("worker-0"), running("ps-0")],
        "completed",
        "chief-0",
    ),
    (
        "parameter servers that ended badly after the chief do not count",
        PS,
        [ended("chief-0", ago=2), ended("ps-0", 143, ago=1)],
        "completed",
        "chief-0",
    ),
    (
        "without a chief, worker 0 decides",
        PS,
        [ended("worker-0"), running("worker-1"), running("ps-0")],
        "completed",
        "worker-0",
    ),
    (
        "a parameter server failed while the chief works",
        PS,
        [running("chief-0"), running("worker-0"), ended("ps-0", 1)],
        "process_failed",
        "ps-0",
    ),
    (
        "an MPI launcher decides, its workers serve until then",
        Mode.MPI,
        [running("launcher-0"), running("worker-0")],
        None,
        "",
    ),
    (
        "an MPI launcher is done",
        Mode.MPI,
        [ended("launcher-0"), running("worker-0")],
        "completed",
        "launcher-0",
    ),
    (
        "an MPI rank failed, and is named",
        Mode.MPI,
        [ended("launcher-0", 7, reason="rank 3 ended with exit code 7"), running("worker-0")],
        "process_failed",
        "rank-3",
    ),
    (
        "an MPI worker failed",
        Mode.MPI,
        [running("launcher-0"), ended("worker-0", 255)],
        "process_failed",
        "worker-0",
    ),
    (
        "the evaluator may finish its last evaluation",
        PS,
        [ended("chief-0"), running("ps-0"), running("evaluator-0")],
        None,
        "",
    ),
    (
        "the evaluator had its time",
        PS,
        [
            ended("chief-0", ago=EVALUATOR_GRACE.total_seconds() + 1),
            running("ps-0"),
            running("evaluator-0"),
        ],
        "completed",
        "chief-0",
    ),
    (
        "the evaluator failed",
        PS,
        [ended("chief-0"), running("ps-0"), ended("evaluator-0", 1)],
        "process_failed",
        "evaluator-0",
    ),
    (
        "a process ran out of memory",
        MW,
        [ended("worker-0", 137, oom=True), running("worker-1")],
        "out_of_memory",
        "worker-0",
    ),
    (
        "a process is gone without a trace",
        MW,
        [running("worker-0"), running("worker-1", is_alive=False)],
        "lost",
        "worker-1",
    ),
]


@pytest.mark.parametrize(
    ("mode", "seen", "reason", "process"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_when_a_group_is_over(mode, seen, reason, process):
    verdict = end_verdict(mode, seen, NOW)
    assert (verdict.reason.value if verdict else None) == reason
    assert (verdict.process if verdict else "") == process


def test_the_reason_says_what_happened():
    seen = [ended("worker-1", 137, reason="was killed by signal 9 (SIGKILL)"), running("worker-0")]
    verdict = end_verdict(MW, seen, NOW)
    assert verdict is not None
    assert verdict.message == "worker-1 was killed by signal 9 (SIGKILL)."


def test_a_process_that_never_came_up_is_named_after_the_deadline():
    seen = [
        ProcessView("worker", 0, ProcessState.READY),
        ProcessView("worker", 1, ProcessState.CREATED),
    ]
    deadline = timedelta(seconds=60)
    assert start_timeout_verdict(seen, NOW - timedelta(seconds=59), deadline, NOW) is None
    verdict = start_timeout_verdict(seen, NOW - timedelta(seconds=61), deadline, NOW)
    assert verdict is not None
    assert verdict.reason == EndReason.NEVER_CAME_UP
    assert verdict.message == "worker-1 did not become ready within 60 s."


def test_a_process_that_its_target_did_not_start_is_told_with_the_targets_words():
    waiting = ProcessView(
        "worker", 0, ProcessState.CREATED, backend_reason="The swarm says: no suitable node."
    )
    verdict = start_timeout_verdict(
        [waiting], NOW - timedelta(seconds=61), timedelta(seconds=60), NOW
    )
    assert verdict is not None
    assert verdict.message == (
        "worker-0 did not become ready within 60 s. The swarm says: no suitable node."
    )
    refused = ProcessView(
        "worker", 0, ProcessState.CREATED, is_alive=False, backend_reason="its image is missing"
    )
    verdict = end_verdict(MW, [refused], NOW)
    assert verdict is not None
    assert verdict.message == "worker-0 could not be started: its image is missing."
