"""Which targets a member may submit to: their team's, those it was granted, none that drains."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.factories import join, make_target, make_team, make_user
from tests.runs.supervision.supervised_runs import Submit
from tests.workspace.targets.not_engines import closed_port
from workspace.compute.docker.backend import DockerBackend
from workspace.models import Role, Team
from workspace.platform.errors import Invalid
from workspace.targets.pools import ensure_pool_known
from workspace.targets.selectors import targets_for, use_problem
from workspace.targets.services import grant_target
from workspace.targets.settings import GrantSettings


def refused(submit: Submit, target: str) -> str:
    """Return why the target is refused, which is all that is wrong with the run."""
    with pytest.raises(Invalid) as refusal:
        submit(compute_target=target)
    (error,) = refusal.value.errors
    assert error.field == "compute_target"
    return error.message


def test_a_draining_target_takes_nothing_new_and_a_paused_one_lets_it_wait(
    submit: Submit, team: Team
) -> None:
    make_target(team, "leaving", is_draining=True)
    make_target(team, "resting", is_paused=True)
    assert "is draining" in refused(submit, "leaving")
    assert submit(compute_target="resting").compute_target.name == "resting"


def test_a_target_of_another_team_is_there_once_it_was_granted(submit: Submit, team: Team) -> None:
    owner = make_user("owner")
    shared = make_target(make_team("others", admin=owner), "shared")
    assert "No such target" in refused(submit, "shared")
    grant_target(target=shared, by=owner, team=team, limits=GrantSettings())
    run = submit(compute_target="shared")
    assert (run.target, run.team) == (shared, team)


def test_a_grant_for_admins_refuses_members(submit: Submit, team: Team, alice: User) -> None:
    target = make_target(team, "precious")
    limits = GrantSettings(min_role="admin")
    grant_target(target=target, by=alice, team=team, limits=limits)
    assert "is for the role admin" in refused(submit, "precious")
    assert use_problem(target, team, alice) == ""


def test_an_engine_that_never_answered_takes_no_runs(submit: Submit, team: Team) -> None:
    address = f"tcp://127.0.0.1:{closed_port()}"
    make_target(team, "new", kind="docker", address=address)
    assert "has not been reached yet" in refused(submit, "new")


def test_an_engine_is_asked_who_it_is_once(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def machines_id(backend: DockerBackend) -> str:
        asked.append(backend.access.address)
        return "e1"

    monkeypatch.setattr(DockerBackend, "machines_id", machines_id)
    target = make_target(team, "new", kind="docker", address="unix:///x")
    ensure_pool_known(target)
    ensure_pool_known(target)
    target.refresh_from_db()
    assert (target.pool, asked) == ("e1", ["unix:///x"])


def test_a_new_service_is_offered_the_granted_targets(client: Client, team: Team) -> None:
    member = make_user("mia")
    theirs = make_team("others")
    join(theirs, member, Role.MEMBER)
    make_target(team, "shared").grants.create(team=theirs)
    make_target(team, "kept")
    client.force_login(member)
    page = client.get("/t/others/services/-/new/")
    assert list(page.context["form"].fields["target"].queryset) == list(targets_for(theirs))
    assert [target.name for target in targets_for(theirs)] == ["shared"]
