"""The pages of environments."""

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.factories import bearer, make_environment, make_group, make_run
from workspace.models import Environment, EnvironmentState, Team


@pytest.fixture
def admin(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


def test_a_team_sees_the_environments_it_used(admin: Client, team: Team) -> None:
    other = make_environment(packages={"secret-package": "1"})
    used = make_environment(size_bytes=3 * 2**20, packages={"numpy": "2.0.1"})
    make_run(team, environment=used)
    page = admin.get("/t/default/environments/").text
    assert used.digest[:12] in page
    assert other.digest[:12] not in page
    detail = admin.get(f"/t/default/environments/{used.pk}/").text
    assert "numpy" in detail
    assert "tensorflow-cpu==2.21.0" in detail
    assert admin.get(f"/t/default/environments/{other.pk}/").status_code == 404


def test_a_failed_build_shows_the_resolvers_words_and_its_log(
    admin: Client, team: Team, home: Path
) -> None:
    failed = make_environment(EnvironmentState.FAILED, error="No solution found <for> nonsense")
    make_run(team, environment=failed)
    at = f"/t/default/environments/{failed.pk}/"
    assert "No solution found &lt;for&gt; nonsense" in admin.get(at).text
    assert admin.get(f"{at}log/").status_code == 404
    (home / "environments").mkdir()
    (home / "environments" / f"{failed.digest}.log").write_text("Resolving...\n")
    log = admin.get(f"{at}log/")
    assert b"".join(log.streaming_content) == b"Resolving...\n"  # type: ignore[attr-defined]
    assert log.headers["Content-Type"].startswith("text/plain")


def test_only_what_nothing_uses_is_removed(admin: Client, team: Team) -> None:
    now = timezone.now()
    unused, waited_for, running = make_environment(), make_environment(), make_environment()
    make_run(team, environment=unused, ended_at=now)
    make_run(team, environment=waited_for)
    make_group(make_run(team, environment=running, ended_at=now))
    page = admin.get("/t/default/environments/").text
    assert "Remove unused (1)" in page
    admin.post("/t/default/environments/remove-unused/")
    assert set(Environment.objects.all()) == {waited_for, running}
    refused = admin.post(f"/t/default/environments/{running.pk}/remove/")
    assert refused.status_code == 409


def test_the_exact_versions_in_an_environment_are_shown(admin: Client, team: Team) -> None:
    versions = {"TensorFlow": "2.21.0", "Open MPI": "4.1.4", "Python": "3.11.2"}
    built = make_environment(versions=versions)
    make_run(team, environment=built)
    for at in ("/t/default/environments/", f"/t/default/environments/{built.pk}/"):
        page = admin.get(at).text
        assert page.index("3.11.2") < page.rindex("2.21.0")
        assert "4.1.4" in page
    page = admin.get("/t/default/environments/").text
    assert "not built yet" in page  # 2.15
    assert "tensorflow-cpu==2.15.1" in page


def test_the_api_gives_the_exact_versions(client: Client, team: Team, alice: User) -> None:
    versions = {"TensorFlow": "2.21.0", "Python": "3.11.2"}
    make_run(team, environment=make_environment(versions=versions, packages={"numpy": "2.0.1"}))
    answer = client.get("/api/v1/teams/default/environments", headers=bearer(alice)).json()
    offers = {(offer["framework_version"], offer["gpu"]): offer for offer in answer["curated"]}
    assert offers["2.21", False]["versions"] == versions
    assert offers["2.15", False]["versions"] == {}
    assert offers["2.15", True]["requirements"][0] == "tensorflow[and-cuda]==2.15.1"
    [built] = answer["environments"]
    assert built["packages"] == {"numpy": "2.0.1"}
    assert built["versions"] == versions
