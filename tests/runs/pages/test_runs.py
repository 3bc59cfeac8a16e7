"""What people see on the pages of runs, and what they may do there."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from runs.config import parse
from runs.events import (
    EVENT_TYPES,
    EventData,
    MetricsRefused,
    ProcessExited,
    RunCancelRequested,
    RunHung,
    RunMovedInQueue,
    RunProgressResumed,
    RunRequeueRequested,
    RunStatusChanged,
    RunSubmitted,
    RunTargetReachable,
    RunTargetUnreachable,
    record,
)
from runs.files.folders import run_folder
from runs.models import Process, Run, RunFile, Snapshot
from runs.selectors import PAGE
from runs.source.blobs import store_for
from runs.source.snapshots import Manifest, ManifestEntry, create_snapshot
from runs.states import ProcessState, RunStatus
from tests.factories import make_group, make_run, make_team
from workspace.models import Experiment, Team

SINCE = "2026-01-01T00:00:00+00:00"
CONFIG: dict[str, Any] = {"experiment": "digits", "entry_script": "train.py"}
SOURCE = {
    "train.py": b"print('<b>hello</b>')\n",
    "package/layers.py": b"WIDTH = 8\n",
    "weights.bin": bytes(range(256)),
}


@pytest.fixture
def snapshot(team: Team) -> Snapshot:
    store = store_for(team)
    entries = [ManifestEntry(path, *store.put_stream(content)) for path, content in SOURCE.items()]
    return create_snapshot(team=team, by=None, manifest=Manifest.of(entries))


@pytest.fixture
def run(team: Team, bob: User, snapshot: Snapshot) -> Run:
    now = timezone.now()
    return a_run(
        team,
        bob,
        RunStatus.RUNNING,
        snapshot=snapshot,
        created_at=now - timedelta(seconds=90),
        preparing_at=now - timedelta(seconds=80),
        starting_at=now - timedelta(seconds=75),
        running_at=now - timedelta(seconds=70),
    )


@pytest.fixture
def page(client: Client, bob: User) -> Client:
    client.force_login(bob)
    return client


def a_run(
    team: Team,
    by: User,
    status: RunStatus = RunStatus.QUEUED,
    config: dict[str, Any] | None = None,
    **fields: Any,
) -> Run:
    return make_run(
        team, by, status, config=parse({**CONFIG, **(config or {})}).to_json(), **fields
    )


def an_experiment(team: Team, name: str) -> Experiment:
    return Experiment.objects.create(team=team, name=name)


def text_of(client: Client, address: str, status: int = 200, **headers: str) -> str:
    answer = client.get(address, headers=headers)
    assert answer.status_code == status
    return answer.content.decode()


TABS = ["", "metrics/", "usage/", "outputs/", "configuration/", "code/", "timeline/", "head/"]


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_of_a_run_opens_for_a_viewer(
    client: Client, vera: User, run: Run, tab: str
) -> None:
    client.force_login(vera)
    shown = text_of(client, f"/t/default/runs/{run.number}/{tab}")
    assert f"Run {run.number}" in shown
    assert "Running" in shown


@pytest.mark.parametrize("tab", TABS)
def test_a_stranger_finds_no_run(client: Client, charlie: User, run: Run, tab: str) -> None:
    client.force_login(charlie)
    text_of(client, f"/t/default/runs/{run.number}/{tab}", status=404)


def test_a_run_of_another_team_is_not_found_under_ones_own(page: Client, run: Run) -> None:
    other = make_team("other")
    theirs = make_run(other, number=77)
    text_of(page, f"/t/default/runs/{theirs.number}/", status=404)


def test_the_list_says_what_each_run_is(page: Client, team: Team, bob: User) -> None:
    a_run(
        team,
        bob,
        config={"distributed_training": {"type": "parameter_server", "worker_count": 2}},
        wait_reason="3 processes wait for 3 CPUs.",
    )
    shown = text_of(page, "/t/default/runs/")
    for words in ("#1", "Queued", "digits", "train.py", "2 workers, 1 ps", "local", "bob"):
        assert words in shown
    assert "3 processes wait for 3 CPUs." in shown


def test_the_list_is_filtered_by_experiment_status_and_text(
    page: Client, team: Team, bob: User
) -> None:
    a_run(team, bob, RunStatus.FAILED, experiment=an_experiment(team, "census"))
    a_run(team, bob, RunStatus.COMPLETED)
    a_run(team, bob, RunStatus.COMPLETED, {"entry_script": "evaluate.py"})

    def numbers(query: str) -> list[int]:
        shown = text_of(page, f"/t/default/runs/?{query}")
        return [number for number in (1, 2, 3) if f"/t/default/runs/{number}/" in shown]

    assert numbers("") == [1, 2, 3]
    assert numbers("experiment=census") == [1]
    assert numbers("status=Completed") == [2, 3]
    assert numbers("q=evaluate") == [3]
    assert numbers("status=Failed&q=evaluate") == []


def test_a_status_that_does_not_exist_is_named(page: Client, team: Team) -> None:
    assert "is not one of Queued" in text_of(page, "/t/default/runs/?status=Sleeping")


def test_an_empty_list_shows_both_ways_to_submit(page: Client, team: Team) -> None:
    shown = text_of(page, "/t/default/runs/")
    assert "/t/default/runs/new/" in shown
    assert "/api/v1/teams/default/runs" in shown


def test_an_empty_list_tells_a_viewer_whom_to_ask(client: Client, vera: User) -> None:
    client.force_login(vera)
    assert "Ask a team admin" in text_of(client, "/t/default/runs/")


def test_a_filter_that_nothing_matches_leads_back(page: Client, run: Run) -> None:
    shown = text_of(page, "/t/default/runs/?q=nothing-like-it")
    assert "No runs match" in shown
    assert "Show all runs" in shown


def test_older_runs_are_on_the_next_page(page: Client, team: Team, bob: User) -> None:
    for _ in range(PAGE + 1):
        a_run(team, bob)
    first = text_of(page, "/t/default/runs/?experiment=digits")
    assert "#1<" not in first
    assert "experiment=digits&amp;cursor=2" in first
    assert "#1<" in text_of(page, "/t/default/runs/?experiment=digits&cursor=2")


def test_htmx_gets_the_rows_alone(page: Client, run: Run) -> None:
    rows = text_of(page, "/t/default/runs/", HX_Request="true")
    assert "<html" not in rows
    assert f"#{run.number}" in rows


def test_only_a_list_with_unfinished_runs_is_refreshed_often(
    page: Client, team: Team, run: Run
) -> None:
    assert "every 2s" in text_of(page, "/t/default/runs/")
    Run.objects.update(status=RunStatus.COMPLETED)
    assert "every 2s" not in text_of(page, "/t/default/runs/")


def test_a_run_shows_the_time_spent_in_each_phase(page: Client, run: Run) -> None:
    shown = text_of(page, f"/t/default/runs/{run.number}/")
    assert "10 s" in shown
    assert "5.0 s" in shown
    assert 'aria-current="step"' in shown


def test_a_failed_run_says_why_with_the_last_lines_as_plain_text(page: Client, run: Run) -> None:
    make_group(run, "worker-0", "worker-1", state=ProcessState.EXITED)
    Process.objects.filter(index=0).update(exit_code=143)
    Process.objects.filter(index=1).update(exit_code=137, exit_reason="was killed by signal 9")
    Run.objects.update(
        status=RunStatus.FAILED,
        end_reason="process_failed",
        end_detail={
            "message": "worker-1 was killed by signal 9.",
            "process": "worker-1",
            "exit_code": 137,
            "lines": ["\x1b[31mred\x1b[0m <script>", " 10%\r 55%\r100%"],
        },
    )
    shown = text_of(page, f"/t/default/runs/{run.number}/")
    assert "A process failed" in shown
    assert "worker-1 was killed by signal 9." in shown
    assert "exit code 137" in shown
    assert "red &lt;script&gt;\n100%" in shown
    assert 'data-log-selected="worker-1"' in shown
    assert shown.count('data-state="failed"') == 2, "the run and worker-1, not the stopped worker-0"


def test_processes_that_the_platform_stopped_have_not_failed(page: Client, run: Run) -> None:
    make_group(run, "chief-0", "ps-0", state=ProcessState.EXITED)
    Process.objects.filter(role="chief").update(exit_code=0)
    Process.objects.filter(role="ps").update(exit_code=143)
    Run.objects.update(status=RunStatus.COMPLETED, end_reason="completed")
    shown = text_of(page, f"/t/default/runs/{run.number}/head/")
    assert 'data-state="failed"' not in shown
    assert 'data-state="stopped"' in shown


def test_a_single_process_has_no_merged_log(page: Client, run: Run) -> None:
    make_group(run, "worker-0")
    assert 'data-log-source="merged"' not in text_of(page, f"/t/default/runs/{run.number}/")
    make_group(run, "worker-0", "worker-1")
    assert 'data-log-source="merged"' in text_of(page, f"/t/default/runs/{run.number}/")


def test_before_there_are_processes_the_build_log_is_open(page: Client, run: Run) -> None:
    assert 'data-log-selected="build"' in text_of(page, f"/t/default/runs/{run.number}/")


def test_a_member_cancels_a_run(page: Client, run: Run) -> None:
    answer = page.post(f"/t/default/runs/{run.number}/cancel/", follow=True)
    assert "Canceling run" in answer.content.decode()
    assert "Canceling" in answer.content.decode()
    run.refresh_from_db()
    assert run.cancel_requested_at is not None


def test_a_viewer_can_neither_see_nor_use_cancel(client: Client, vera: User, run: Run) -> None:
    client.force_login(vera)
    assert "/cancel/" not in text_of(client, f"/t/default/runs/{run.number}/")
    assert client.post(f"/t/default/runs/{run.number}/cancel/").status_code == 403
    run.refresh_from_db()
    assert run.cancel_requested_at is None


def test_canceling_a_run_that_is_over_says_so(page: Client, run: Run) -> None:
    Run.objects.update(status=RunStatus.COMPLETED)
    answer = page.post(f"/t/default/runs/{run.number}/cancel/", follow=True)
    assert "has already ended" in answer.content.decode()


def test_a_finished_run_with_a_saved_model_offers_to_register_a_model(
    page: Client, run: Run
) -> None:
    address = f"/t/default/models/register/?run={run.number}"
    assert address not in text_of(page, f"/t/default/runs/{run.number}/")
    Run.objects.update(status=RunStatus.COMPLETED)
    assert address not in text_of(page, f"/t/default/runs/{run.number}/")
    RunFile.objects.create(
        run=run,
        process=make_group(run).processes.all()[0],
        path="outputs/digits/saved_model.pb",
        digest="0" * 64,
        size_bytes=1,
    )
    assert address in text_of(page, f"/t/default/runs/{run.number}/")


def test_code_shows_the_entry_script_first_and_escapes_it(page: Client, run: Run) -> None:
    shown = text_of(page, f"/t/default/runs/{run.number}/code/")
    assert "print(&#x27;&lt;b&gt;hello&lt;/b&gt;&#x27;)" in shown
    assert "layers.py" in shown


def test_code_shows_other_files_and_refuses_those_that_are_not_there(
    page: Client, run: Run
) -> None:
    code = f"/t/default/runs/{run.number}/code/?path="
    assert "WIDTH = 8" in text_of(page, f"{code}package/layers.py")
    assert "not a text file" in text_of(page, f"{code}weights.bin")
    text_of(page, f"{code}../secret_key", status=404)


def test_outputs_are_a_tree_with_text_shown_and_models_offered(
    page: Client, run: Run, home: Path
) -> None:
    process = make_group(run).processes.get()
    for path, content in {
        "outputs/export/saved_model.pb": b"\0\1",
        "outputs/report.txt": b"accuracy <0.97>",
    }.items():
        place = run_folder(run.pk) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        RunFile.objects.create(run=run, path=path, process=process, size_bytes=len(content))
    outputs = f"/t/default/runs/{run.number}/outputs/"
    tree = text_of(page, outputs)
    assert "2 files" in tree
    assert f"/t/default/models/register/?run={run.number}&amp;path=outputs%2Fexport" in tree
    assert "accuracy &lt;0.97&gt;" in text_of(page, f"{outputs}?path=outputs/report.txt")
    assert "not a text file" in text_of(page, f"{outputs}?path=outputs/export/saved_model.pb")
    text_of(page, f"{outputs}?path=outputs/../../db.sqlite3", status=404)


def test_configuration_names_what_was_given(page: Client, team: Team, bob: User) -> None:
    run = a_run(
        team,
        bob,
        config={
            "script_params": {"--epochs": 20, "--shuffle": None},
            "environment_variables": {"DATA_DIR": "/data"},
            "pip_packages": ["scikit-learn==1.7.2"],
        },
        warnings=[{"message": "Keras 3's fit fails here.", "remedy": "Use tf_keras."}],
    )
    shown = text_of(page, f"/t/default/runs/{run.number}/configuration/")
    for words in ("--epochs", "--shuffle", "DATA_DIR", "/data", "scikit-learn==1.7.2"):
        assert words in shown
    assert "Use tf_keras." in shown


SENTENCES: list[tuple[EventData, str]] = [
    (RunSubmitted(by="bob"), "Submitted by bob."),
    (RunCancelRequested(by="bob"), "Cancel requested by bob."),
    (RunStatusChanged("Queued", "Preparing", ""), "Queued → Preparing."),
    (
        RunStatusChanged("Running", "Finalizing", "process_failed"),
        "Running → Finalizing: a process failed.",
    ),
    (
        RunRequeueRequested("preempted", "Run 7 needs its GPUs."),
        "Preempted by a run of higher priority. Run 7 needs its GPUs.",
    ),
    (RunMovedInQueue("alice", 2), "alice moved the run to position 2 of the queue."),
    (
        RunMovedInQueue("alice", 1, 50),
        "alice moved the run to position 1 of the queue, with priority 50.",
    ),
    (
        RunTargetUnreachable(SINCE, "No route to host."),
        "The compute target is unreachable: No route to host.",
    ),
    (RunTargetReachable(SINCE), "The compute target is reachable again."),
    (
        RunHung(SINCE, {"worker-0": "step 1"}),
        "No progress: no new log output, file write or CPU use.",
    ),
    (RunProgressResumed(SINCE), "Progress resumed."),
    (ProcessExited("worker-0", 1, "", 1), "worker-0 ended with exit code 1."),
    (ProcessExited("worker-0", 137, "was killed", 1), "worker-0 was killed."),
    (
        MetricsRefused("logs/x", "The run has too many metrics."),
        "Some metrics were not stored. The run has too many metrics.",
    ),
]


def test_the_timeline_tells_events_in_sentences(page: Client, run: Run) -> None:
    for event, _ in SENTENCES:
        record(run, event)
    shown = text_of(page, f"/t/default/runs/{run.number}/timeline/")
    for _, sentence in SENTENCES:
        assert sentence in shown
    assert {type(event) for event, _ in SENTENCES} == set(EVENT_TYPES.values())


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_what_users_write_is_never_markup(
    page: Client, team: Team, bob: User, hostile: str
) -> None:
    experiment = an_experiment(team, hostile)
    run = a_run(
        team,
        bob,
        config={"script_params": {hostile: hostile}, "entry_script": hostile},
        experiment=experiment,
        wait_reason=hostile,
    )
    for address in ("", f"{run.number}/", f"{run.number}/configuration/"):
        shown = text_of(page, f"/t/default/runs/{address}")
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown
