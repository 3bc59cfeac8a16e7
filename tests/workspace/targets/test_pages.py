"""The pages on which targets are looked at, added, set, shared and removed."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from runs.states import RunStatus
from tests.factories import join, make_group, make_run, make_target, make_team
from tests.workspace.targets.target_fixtures import OF_AN_ENGINE, ON_THE_FORM, OneNode, certificate
from workspace.models import AuditEntry, ComputeTarget, Role, Team
from workspace.platform.encryption import decrypt

LOCAL = "/t/default/targets/local/"
ENGINE = {"kind": "docker", "address": "unix:///nowhere/docker.sock"}


@pytest.fixture(autouse=True)
def one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace.targets.states.backend_for", lambda target: OneNode())


@pytest.fixture
def admin(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


def test_members_see_the_targets_and_their_nodes(client: Client, vera: User, team: Team) -> None:
    make_target(team)
    client.force_login(vera)
    page = client.get("/t/default/targets/").text
    assert "machine-7" in page
    assert "New target" not in page
    page = client.get(LOCAL).text
    assert "Process limit" in page
    assert "570.86.15" in page
    assert "Delete" not in page
    for part in ("settings", "access", "test"):
        assert client.get(f"{LOCAL}{part}/").status_code == 403


def test_an_admin_makes_pauses_drains_resumes_and_removes_a_target(admin: Client) -> None:
    form = {**ON_THE_FORM, "name": "second", "kind": "local"}
    assert admin.post("/t/default/new-target/", form).status_code == 302
    at = "/t/default/targets/second/"
    for state in ("paused", "draining", "open"):
        admin.post(f"{at}set/{state}/")
        assert f'data-state="{state}"' in admin.get(at).text
    assert admin.post(f"{at}set/broken/").status_code == 404
    admin.post(f"{at}delete/")
    assert admin.get(at).status_code == 404
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        "target.create",
        "target.update",
        "target.update",
        "target.update",
        "target.delete",
    ]


def test_a_taken_name_is_told_beside_its_field(admin: Client, team: Team) -> None:
    make_target(team, "second")
    page = admin.post("/t/default/new-target/", {**ON_THE_FORM, "name": "second", "kind": "local"})
    assert page.status_code == 422
    assert "already has a compute target" in page.text


def test_an_admin_allows_several_users_on_a_local_target(
    admin: Client, bob: User, team: Team
) -> None:
    make_target(team, allow_shared=False)
    assert "more than one user" in admin.get(LOCAL).text
    admin.post(f"{LOCAL}settings/", {**ON_THE_FORM, "max_processes": 4, "allow_shared": "on"})
    assert "more than one user" not in admin.get(LOCAL).text
    assert ComputeTarget.objects.get().max_processes == 4


def test_secrets_are_sealed_kept_when_left_empty_and_never_shown(admin: Client) -> None:
    ca = certificate("authority")
    ours = certificate("trainyard", by=ca)
    form = {
        **OF_AN_ENGINE,
        "kind": "docker",
        "name": "gpu",
        "address": "tcp://192.0.2.1:2376",
        "tls_ca": ca.cert,
        "tls_cert": ours.cert,
        "tls_key": ours.key,
        "registry": "registry.lan:5000",
        "registry_user": "ci",
        "registry_password": "open sesame",
    }
    assert admin.post("/t/default/new-target/", form).status_code == 302
    made = ComputeTarget.objects.get(name="gpu")
    assert ours.key not in made.encrypted_tls_key
    assert decrypt(made.encrypted_tls_key) == ours.key
    assert decrypt(made.encrypted_registry_password) == "open sesame"
    page = admin.get("/t/default/targets/gpu/settings/").text
    assert "a private key is stored" in page
    assert "PRIVATE KEY" not in page
    assert "open sesame" not in page
    kept = {
        **form,
        "tls_key": "",
        "registry_password": "",
        "max_memory_gb": "2.5",
        "idle_memory_gb": "1",
    }
    assert admin.post("/t/default/targets/gpu/settings/", kept).status_code == 302
    made.refresh_from_db()
    assert decrypt(made.encrypted_tls_key) == ours.key
    assert decrypt(made.encrypted_registry_password) == "open sesame"
    assert made.max_memory_bytes == 2_500_000_000
    assert (made.idle_cpus, made.idle_memory_bytes) == (0, 1_000_000_000)
    told = str(list(AuditEntry.objects.values_list("data", flat=True)))
    assert "KEY" not in told
    assert "open sesame" not in told


def test_a_target_that_does_not_answer_says_since_when_and_why(admin: Client, team: Team) -> None:
    since = timezone.now() - timedelta(minutes=7)
    make_target(
        team,
        "gone",
        unreachable_since=since,
        unreachable_reason="The engine at tcp://192.0.2.1:2376 does not answer: timed out.",
        **ENGINE,
    )
    page = admin.get("/t/default/targets/gone/").text
    assert "Unreachable since" in page
    assert "7 min ago" in page
    assert "timed out" in page


def test_two_targets_with_one_engine_say_that_it_counts_once(admin: Client, team: Team) -> None:
    make_target(team, "first", pool="engine-1", **ENGINE)
    make_target(team, "second", pool="engine-1", **ENGINE)
    make_target(team, "third", pool="engine-2", **ENGINE)
    page = admin.get("/t/default/targets/first/").text
    assert "counts once" in page
    assert ">second</a>" in page
    assert "third" not in page
    assert "counts once" not in admin.get("/t/default/targets/third/").text


def test_the_page_says_who_holds_what_and_who_waits(admin: Client, alice: User, team: Team) -> None:
    target = make_target(team)
    running = make_run(team, alice, RunStatus.RUNNING, target=target)
    process = make_group(running).processes.get()
    process.cpus, process.gpus, process.node = 3, ["GPU-0"], "machine-7"
    process.save()
    make_run(team, alice, target=target, wait_reason="Needs 8 CPUs; 5 are free.")
    page = admin.get(f"{LOCAL}live/").text
    assert f"run {running.number}</a> of alice" in page
    assert "free</span>" not in page
    assert "Needs 8 CPUs; 5 are free." in page
    assert ">5 <span" in page


def test_other_teams_are_named_and_no_more(admin: Client, team: Team, charlie: User) -> None:
    others = make_team("others", admin=charlie)
    target = make_target(team)
    hidden = make_run(others, charlie, RunStatus.RUNNING, target=target)
    make_group(hidden)
    page = admin.get(LOCAL).text
    assert "Others" in page
    assert "charlie" not in page
    assert "/t/others/" not in page


def test_past_use_is_shown_day_by_day(admin: Client, alice: User, team: Team) -> None:
    now = timezone.now()
    run = make_run(team, alice, RunStatus.COMPLETED, target=make_target(team), ended_at=now)
    process = make_group(run).processes.get()
    process.started_at, process.exited_at = (
        now - timedelta(days=2, hours=3),
        now - timedelta(days=2),
    )
    process.cpus, process.gpus = 2, ["GPU-0", "GPU-1"]
    process.save()
    days = admin.get(LOCAL).context["history"]
    assert sum(day.gpu_hours for day in days) == pytest.approx(6)
    assert sum(day.cpu_hours for day in days) == pytest.approx(6)
    assert days[0].process_hours == 0


def test_an_admin_lets_another_team_use_a_target_and_takes_it_back(
    admin: Client, team: Team, charlie: User, client: Client
) -> None:
    make_team("others", admin=charlie)
    make_target(team)
    at = f"{LOCAL}access/"
    answer = admin.post(at, {"team": "others", "max_runs": 2, "min_role": "admin"})
    assert answer.status_code == 302
    assert "(offered)" in admin.get(at).text
    stranger = Client()
    stranger.force_login(charlie)
    stranger.post("/t/others/target-offers/default/local/accept/")
    assert "Others" in admin.get(at).text
    assert "managed by Default" in stranger.get("/t/others/targets/local/").text
    assert stranger.get("/t/others/targets/local/settings/").status_code == 403
    assert stranger.post("/t/others/targets/local/delete/").status_code == 403
    admin.post(f"{at}others/revoke/")
    assert stranger.get("/t/others/targets/local/").status_code == 404


def test_a_viewer_of_a_granted_team_sees_no_address(client: Client, team: Team) -> None:
    viewer = User.objects.create_user("violet")
    others = make_team("others")
    join(others, viewer, Role.VIEWER)
    make_target(team, "gpu", **ENGINE).grants.create(team=others)
    client.force_login(viewer)
    page = client.get("/t/others/targets/gpu/").text
    assert "machine-7" in page
    assert "/nowhere/docker.sock" not in page


def test_what_the_settings_refuse_stands_beside_the_fields_all_at_once(
    admin: Client, team: Team
) -> None:
    make_target(team)
    form = {**ON_THE_FORM, "max_memory_gb": "-1", "max_processes": 0, "default_priority": 500}
    page = admin.post(f"{LOCAL}settings/", form)
    assert page.status_code == 422
    errors = page.context["form"].errors
    assert set(errors) == {"max_memory_gb", "max_processes", "default_priority"}
    assert errors["default_priority"] == ["Default priority should be at most 100; it is 500."]


def test_each_kind_is_asked_for_its_own_settings(admin: Client) -> None:
    def fields(kind: str) -> set[str]:
        return set(admin.get(f"/t/default/new-target/?kind={kind}").context["form"].fields)

    assert {"allow_shared", "max_memory_gb"} <= fields("local")
    assert not {"address", "allowed_nodes"} & fields("local")
    assert fields("swarm") - fields("docker") == {"allowed_nodes", "shared_folder"}
    assert not {"is_paused", "kind", "max_memory_bytes"} & fields("docker")
