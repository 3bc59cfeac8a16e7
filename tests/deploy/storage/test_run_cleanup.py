"""Which runs a team's rules and a person's selection delete, and which stay."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from deploy.maintenance import tidy_up
from deploy.models import StorageReport
from deploy.storage.measurement import measure_team
from deploy.storage.run_cleanup import RunSelection, apply_rules, delete_selected
from runs.files.folders import run_folder
from runs.logs.log_file import log_of
from runs.models import Run
from runs.source.blobs import store_for
from runs.states import RunStatus
from tests.factories import make_group, make_run, make_team, make_user
from workspace.models import AuditEntry, Experiment, Installation, Team

pytestmark = pytest.mark.django_db(transaction=True)
KILOBYTE = 1000
Ended = Callable[..., Run]


@pytest.fixture(autouse=True)
def _tidied_up_before() -> None:
    Installation.objects.create(identity="this", purged_until=timezone.now())


@pytest.fixture
def ended(team: Team, bob: User) -> Ended:
    """Make a run that ended some days ago and left some bytes of outputs."""

    def make(*, days: float = 1, size: int = KILOBYTE, of: Team = team, **fields: Any) -> Run:
        at = timezone.now() - timedelta(days=days)
        name = fields.pop("experiment", "digits")
        fields["experiment"] = Experiment.objects.get_or_create(team=of, name=name)[0]
        run = make_run(of, fields.pop("by", bob), status=RunStatus.COMPLETED, ended_at=at, **fields)
        outputs = run_folder(run.pk) / "outputs"
        outputs.mkdir(parents=True)
        (outputs / "weights").write_bytes(b"w" * size)
        return run

    return make


def left(team: Team) -> list[Run]:
    return list(Run.objects.filter(team=team, deleted_at=None).order_by("number"))


def test_what_each_part_uses_is_measured(team: Team, ended: Ended) -> None:
    run = ended(size=700)
    group = make_group(run)
    log_of(group.label, "worker-0").append(0, b"x" * 300)
    store_for(team).put_stream(b"y" * 50)
    ended(of=make_team(), size=9)
    measure_team(team.pk)
    run.refresh_from_db()
    assert run.stored_bytes == 1000
    report = StorageReport.objects.get()
    assert (report.run_bytes, report.blob_bytes) == (1000, 50)
    (run_folder(run.pk) / "outputs" / "weights").unlink()
    measure_team(team.pk)
    run.refresh_from_db()
    assert (run.stored_bytes, StorageReport.objects.get().run_bytes) == (300, 300)


def test_runs_go_when_they_are_too_old_and_the_disk_gets_smaller(team: Team, ended: Ended) -> None:
    old, kept, young = (
        ended(days=40),
        ended(days=40, tags={"keep": ""}),
        ended(days=20),
    )
    going_on = make_run(team, status=RunStatus.RUNNING)
    other = ended(days=400, of=make_team())
    Team.objects.filter(pk=team.pk).update(keep_runs_days=30)
    tidy_up()
    assert left(team) == [kept, young, going_on]
    assert left(other.team) == [other]
    assert not run_folder(old.pk).exists()
    assert run_folder(kept.pk).exists()
    entry = AuditEntry.objects.get(action="run.delete")
    assert (entry.subject, entry.actor) == ("1 runs", None)
    assert "30 days" in entry.data["rule"]


def test_the_runs_that_ended_first_go_while_all_are_too_large(team: Team, ended: Ended) -> None:
    first, kept, third, last = (
        ended(days=9),
        ended(days=8, tags={"keep": ""}),
        ended(days=7),
        ended(days=6),
    )
    Team.objects.filter(pk=team.pk).update(keep_runs_bytes=2 * KILOBYTE)
    measure_team(team.pk)
    apply_rules()
    assert left(team) == [kept, last]
    assert {first.pk, third.pk}.isdisjoint(run.pk for run in left(team))


def test_nothing_goes_without_a_rule(team: Team, ended: Ended) -> None:
    runs = [ended(days=4000, size=10 * KILOBYTE)]
    measure_team(team.pk)
    apply_rules()
    assert left(team) == runs


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (RunSelection(experiment="digits"), {"old"}),
        (RunSelection(author="eve"), {"hers"}),
        (RunSelection(older_than_days=30), {"old", "hers"}),
        (RunSelection(larger_than_bytes=KILOBYTE), {"large"}),
        (RunSelection(experiment="digits", author="eve"), set()),
    ],
)
def test_a_selection_deletes_what_matches_all_of_it(
    team: Team, bob: User, ended: Ended, selection: RunSelection, expected: set[str]
) -> None:
    runs = {
        "old": ended(days=40, experiment="digits"),
        "hers": ended(days=40, by=make_user("eve"), experiment="other"),
        "large": ended(size=5 * KILOBYTE, experiment="other"),
        "kept": ended(days=40, size=5 * KILOBYTE, experiment="digits", tags={"keep": "yes"}),
    }
    measure_team(team.pk)
    assert delete_selected(team, selection, by=bob) == len(expected)
    assert {name for name, run in runs.items() if run not in left(team)} == expected


def test_a_run_that_another_one_resumes_from_stays(team: Team, bob: User, ended: Ended) -> None:
    resumed = ended(days=40)
    resuming = make_run(team, status=RunStatus.QUEUED, resumed_from=resumed)
    assert delete_selected(team, RunSelection(older_than_days=1), by=bob) == 0
    assert left(team) == [resumed, resuming]
