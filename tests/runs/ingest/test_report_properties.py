"""Whatever order reports of runners come in, and however often, and whatever outputs are called."""

import hashlib
import os
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.constants import UNUSABLE_NAME
from runner.found_files import quoted
from runs.files.folders import run_folder
from runs.files.store import DeclaredFile, file_of, store_output
from runs.ingest import process_reports
from runs.ingest.files import _judged
from runs.models import Process, ProcessGroup, RunEvent
from runs.states import ProcessState, RunStatus
from tests.factories import make_group, make_run, make_team
from workspace.platform.errors import Invalid

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
some_examples = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HOW_FAR = [ProcessState.CREATED, ProcessState.READY, ProcessState.RUNNING, ProcessState.EXITED]
REPORT = st.tuples(
    st.sampled_from(["ready", "started", "exited", "collected"]),
    st.sampled_from([0, 1]),
    st.integers(0, 255),
)


def report(process: Process, what: str, exit_code: int) -> None:
    match what:
        case "ready":
            process_reports.process_ready(process, node="here")
        case "started":
            process_reports.process_started(process)
        case "exited":
            process_reports.process_exited(
                process, exit_code=exit_code, reason="", out_of_memory=False
            )
        case "collected":
            process_reports.process_collected(process)


@some_examples
@given(st.lists(REPORT, max_size=14))
def test_reports_in_any_order_end_in_a_right_state(reports: list[tuple[str, int, int]]) -> None:
    run = make_run(make_team(), status=RunStatus.RUNNING)
    group = make_group(run, "worker-0", "worker-1", state=ProcessState.CREATED)
    keys = list(group.processes.values_list("pk", flat=True))
    exit_codes: dict[int, int] = {}
    was_open = False
    for what, index, exit_code in reports:
        process = Process.objects.select_related("group__run").get(pk=keys[index])
        before = HOW_FAR.index(ProcessState(process.state))
        report(process, what, exit_code)
        process.refresh_from_db()
        assert HOW_FAR.index(ProcessState(process.state)) >= before
        is_open = ProcessGroup.objects.get(pk=group.pk).barrier_opened_at is not None
        assert is_open >= was_open
        was_open = is_open
        if what == "exited":
            exit_codes.setdefault(index, exit_code)
    for index, key in enumerate(keys):
        process = Process.objects.get(pk=key)
        told = {what for what, one, _ in reports if one == index}
        assert process.exit_code == exit_codes.get(index)
        assert (process.state == ProcessState.EXITED) == ("exited" in told)
        assert (process.collected_at is not None) == ("collected" in told)
    assert RunEvent.objects.filter(run=run, type="process.exited").count() == len(exit_codes)


@some_examples
@given(name=st.binary(min_size=1, max_size=300))
def test_any_bytes_as_an_outputs_name_are_kept_as_they_are_or_refused_in_words(
    name: bytes, tmp_path: Path
) -> None:
    path = f"outputs/{os.fsdecode(name)}"
    content = tmp_path / "content"
    content.write_bytes(b"x")
    entry = {"path": path, "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    judged = _judged(entry)
    if not isinstance(judged, DeclaredFile):
        assert judged.reason
        return
    assert unquote(quoted(path)) == path
    run = make_run(make_team(), status=RunStatus.RUNNING)
    process = make_group(run).processes.get()
    problem: Exception | None = None
    try:
        store_output(process, judged, content)
    except (Invalid, OSError) as refused:
        problem = refused
    if isinstance(problem, OSError):
        assert problem.errno in UNUSABLE_NAME
    elif problem is None:
        held = file_of(run, path)
        assert held.location.read_bytes() == b"x"
        assert held.location.resolve().is_relative_to(run_folder(run.pk) / "outputs")
