"""Images that a target keeps no longer go; those in use never do."""

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone

from tests.docker.cleaning import clear
from tests.docker.engine import BASE_IMAGE, Engine
from tests.factories import make_run, make_target
from workspace.compute.environment_spec import CuratedFramework, EnvironmentSpec
from workspace.environments import jobs
from workspace.environments.pruning import prune
from workspace.environments.services import get_or_create
from workspace.models import ComputeTarget, Environment, EnvironmentState, Team
from workspace.targets.backends import backend_for, backend_of, target_access

pytestmark = [pytest.mark.docker, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def target(
    engine: Engine, team: Team, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ComputeTarget]:
    monkeypatch.setattr(CuratedFramework, "requirements", lambda self, *, gpu: ["six==1.17.0"])
    target = make_target(
        team,
        "engine",
        kind="docker",
        address=engine.address,
        base_image=BASE_IMAGE,
        pool="pruning",
    )
    yield target
    backend_for(target).close()  # type: ignore[attr-defined]
    with engine.client() as client:
        clear(client, target_access(target).installation)


def built(target: ComputeTarget, *packages: str, days_ago: int = 0) -> Environment:
    """Build an environment whose last use lies some days back."""
    environment = get_or_create(target, EnvironmentSpec.of("2.21", packages=packages), target.team)
    jobs.build_environment(environment.pk)
    environment.refresh_from_db()
    assert environment.state == EnvironmentState.READY, environment.error
    environment.last_used_at = timezone.now() - timedelta(days=days_ago)
    environment.save()
    return environment


def is_there(environment: Environment) -> bool:
    return backend_of(environment).has_environment(environment.reference)


def test_images_that_nothing_used_for_long_go_and_those_in_use_stay(
    target: ComputeTarget, team: Team
) -> None:
    old, used, ended, new = (
        built(target, "iniconfig", days_ago=40),
        built(target, "idna", days_ago=40),
        built(target, "sniffio", days_ago=40),
        built(target),
    )
    make_run(team, target=target, environment=used)
    yesterday = timezone.now() - timedelta(days=1)
    make_run(team, target=target, environment=ended, ended_at=yesterday)
    said = StringIO()
    call_command("prune_environments", "engine", stdout=said)
    assert said.getvalue() == "default/engine: 1 removed.\n"
    assert not is_there(old)
    assert all(map(is_there, (used, ended, new)))
    assert not Environment.objects.filter(pk=old.pk).exists()


def test_what_there_is_no_room_for_goes_the_longest_unused_first(
    target: ComputeTarget, team: Team
) -> None:
    kept, old = built(target, days_ago=2), built(target, "iniconfig", days_ago=3)
    target.images_max_bytes = kept.size_bytes
    target.save()
    assert prune(target) == 1
    assert is_there(kept)
    assert not is_there(old)
    make_run(team, target=target, environment=kept)
    target.images_max_bytes = 1
    assert prune(target) == 0
    assert is_there(kept)


def test_an_image_of_no_environment_goes_unless_a_container_has_it(
    target: ComputeTarget, engine: Engine
) -> None:
    environment = built(target)
    Environment.objects.all().delete()
    with engine.client() as client:
        container = client.containers.run(environment.reference, ["sleep", "600"], detach=True)
        try:
            prune(target)
            assert is_there(environment)
        finally:
            container.remove(force=True)
    prune(target)
    assert not is_there(environment)
