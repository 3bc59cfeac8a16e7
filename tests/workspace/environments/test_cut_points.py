"""A worker that is killed at any point of a build, or a removal, leaves what the next one ends."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cut_points import CutPoints, Killed, every_cut
from workspace.compute.builds.build_log import Log
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.local import virtualenvs
from workspace.environments.jobs import build_environment
from workspace.environments.pruning import prune_this_machine
from workspace.environments.services import (
    get_or_create,
    log_path,
    remove_environment,
    requeue_abandoned_builds,
)
from workspace.models import ComputeTarget, Environment, EnvironmentState, Team
from workspace.platform import background_jobs
from workspace.targets.backends import backend_of

pytestmark = pytest.mark.django_db
LOCAL = ComputeTarget(name="local", kind="local")
LONG_AGO = (1_000_000_000, 1_000_000_000)


@pytest.fixture(autouse=True)
def _tiny_virtualenvs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_jobs, "HEARTBEAT_TIMEOUT", timedelta(0))
    monkeypatch.setattr(virtualenvs, "packages_in", lambda folder: {"tensorflow": "2.21.0"})
    monkeypatch.setattr(virtualenvs, "versions_in", lambda folder: {})
    monkeypatch.setattr(virtualenvs, "_fill", fill)


def fill(folder: Path, spec: EnvironmentSpec, log: Log) -> None:
    log(b"Installing.\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text("python")
    (folder / "requirements.txt").write_text("tensorflow\n")


def build(environment: Environment, points: CutPoints) -> None:
    while environment.state != EnvironmentState.READY:
        try:
            with points.watched():
                build_environment(environment.pk)
        except Killed:
            requeue_abandoned_builds()
        environment.refresh_from_db()


def remove(points: CutPoints) -> None:
    while environment := Environment.objects.first():
        try:
            with points.watched():
                remove_environment(environment)
        except Killed:
            continue


def names_after_tidying_up(folder: Path) -> set[str]:
    """Tidy up when all files are old, and return those that are there then."""
    for path in folder.iterdir():
        os.utime(path, LONG_AGO, follow_symlinks=False)
    prune_this_machine()
    return {path.name for path in folder.iterdir()}


@pytest.mark.slow
def test_an_environment_is_built_and_removed_whatever_is_killed(team: Team, home: Path) -> None:
    for points in every_cut(at_least=15):
        environment = get_or_create(LOCAL, EnvironmentSpec.of("2.21"), team)
        build(environment, points)
        said = f"killed at {points.where}"
        assert backend_of(environment).has_environment(environment.reference), said
        assert environment.packages == {"tensorflow": "2.21.0"}, said
        folder = home / "environments" / environment.digest
        assert environment.size_bytes == virtualenvs.size_of(folder), said
        assert log_path(environment).read_text() in (
            "Installing.\n",
            "It is already there.\n",
            "It was changed since it was built, so it is built again.\nInstalling.\n",
        ), said
        there = {environment.digest, f"{environment.digest}.sealed", f"{environment.digest}.log"}
        assert names_after_tidying_up(folder.parent) == there, said
        remove(points)
        assert not Environment.objects.exists(), said
        assert names_after_tidying_up(folder.parent) == set(), said


def test_what_a_build_makes_stays_while_it_is_new(home: Path) -> None:
    unfinished = home / "environments" / ".building-a"
    unfinished.mkdir(parents=True)
    prune_this_machine()
    assert unfinished.exists()
