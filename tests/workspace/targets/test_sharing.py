"""A shared target counts once the other team accepts it, and offers tell nothing of teams."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.factories import bearer, join, make_run, make_target, make_team
from tests.workspace.targets.target_fixtures import OneNode
from workspace.models import AuditEntry, Role, Team
from workspace.targets.selectors import targets_for

GRANTS = "/api/v1/teams/default/targets/gpu/grants"
OFFERS = "/api/v1/teams/others/target-offers"
# A form's token against CSRF, and the time.
CHANGING = re.compile(r'\b\w{64}\b|data-server-time="[^"]*"')
ENGINE = {"kind": "docker", "address": "tcp://198.51.100.7:2376", "pool": "p"}


@pytest.fixture(autouse=True)
def one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace.targets.states.backend_for", lambda target: OneNode())


@pytest.fixture
def others(team: Team, charlie: User) -> Team:
    make_target(team, "gpu", **ENGINE)
    return make_team("others", admin=charlie)


def send(client: Client, method: str, address: str, user: User, body: object = None) -> Any:
    return client.generic(
        method, address, json.dumps(body or {}), "application/json", headers=bearer(user)
    )


def test_an_offer_gives_and_takes_nothing_until_it_is_accepted(
    client: Client, alice: User, charlie: User, others: Team
) -> None:
    limits = {"max_runs": 2, "max_gpus": 4, "gpu_hours_a_month": 10.5, "min_role": "admin"}
    put = send(client, "PUT", f"{GRANTS}/others", alice, limits)
    assert put.json() == {"team": "others", "is_owner": False, "is_accepted": False, **limits}
    assert not targets_for(others).exists()
    make_target(others, "gpu", **ENGINE)  # the name is still theirs
    (offer,) = send(client, "GET", OFFERS, charlie).json()
    assert offer == {"owner": "default", "name": "gpu", "kind": "docker", **limits}
    accept = f"{OFFERS}/default/gpu/accept"
    assert send(client, "POST", accept, charlie).status_code == 409
    others.targets.get().delete()
    accepted = send(client, "POST", accept, charlie)
    assert accepted.json() == {**put.json(), "is_accepted": True}
    assert [target.name for target in targets_for(others)] == ["gpu"]
    assert send(client, "GET", OFFERS, charlie).json() == []
    assert send(client, "POST", accept, charlie).status_code == 404
    changed = send(client, "PUT", f"{GRANTS}/others", alice, {"max_runs": 1})
    assert (changed.json()["is_accepted"], changed.json()["max_runs"]) == (True, 1)


def test_answers_do_not_tell_which_teams_exist(client: Client, alice: User, others: Team) -> None:
    make_target(make_team("zebras"), "gpu", **ENGINE)

    def answers(to: str) -> list[tuple[int, str]]:
        asked = [
            send(client, "DELETE", f"{GRANTS}/{to}", alice),
            send(client, "PUT", f"{GRANTS}/{to}", alice, {"max_runs": 1}),
            send(client, "PUT", f"{GRANTS}/{to}", alice, {"max_runs": 2}),
            send(client, "GET", GRANTS, alice),
            send(client, "DELETE", f"{GRANTS}/{to}", alice),
            send(client, "GET", GRANTS, alice),
        ]
        page = Client()
        page.force_login(alice)
        at = "/t/default/targets/gpu/access/"
        asked.append(page.post(at, {"team": to, "min_role": "member"}, follow=True))
        page.post(f"{at}{to}/revoke/")
        told = [(answer.status_code, CHANGING.sub("", answer.text)) for answer in asked]
        return [(code, text.replace(to, "TO")) for code, text in told]

    assert answers("zebras") == answers("unicorns")


def test_an_offer_is_declined_and_an_accepted_target_given_back(
    client: Client, alice: User, charlie: User, others: Team
) -> None:
    send(client, "PUT", f"{GRANTS}/others", alice)
    at = f"{OFFERS}/default/gpu"
    assert send(client, "DELETE", at, charlie).status_code == 204
    assert send(client, "DELETE", at, charlie).status_code == 404
    assert send(client, "GET", GRANTS, alice).json() == []
    send(client, "PUT", f"{GRANTS}/others", alice)
    send(client, "POST", f"{at}/accept", charlie)
    run = make_run(others, charlie, target=targets_for(others).get())
    assert send(client, "DELETE", at, charlie).status_code == 409
    run.delete()
    assert send(client, "DELETE", at, charlie).status_code == 204
    assert not targets_for(others).exists()
    heard = AuditEntry.objects.filter(team=others).order_by("pk").values_list("action", flat=True)
    assert list(heard) == ["target.decline", "target.grant", "target.revoke"]


def test_only_admins_of_the_receiving_team_see_and_accept_offers(
    client: Client, alice: User, bob: User, others: Team
) -> None:
    join(others, bob, Role.MEMBER)
    send(client, "PUT", f"{GRANTS}/others", alice)
    assert send(client, "GET", OFFERS, bob).status_code == 403
    assert send(client, "GET", OFFERS, alice).status_code == 404
    for path in ("accept", "decline"):
        for user, status in ((bob, 403), (alice, 404)):
            client.force_login(user)
            answer = client.post(f"/t/others/target-offers/default/gpu/{path}/")
            assert answer.status_code == status
    assert not targets_for(others).exists()


def test_an_admin_accepts_on_the_page(
    client: Client, alice: User, charlie: User, others: Team
) -> None:
    send(client, "PUT", f"{GRANTS}/others", alice)
    client.force_login(charlie)
    page = client.get("/t/others/targets/").text
    assert "Offered by other teams" in page
    client.post("/t/others/target-offers/default/gpu/accept/")
    page = client.get("/t/others/targets/").text
    assert "Offered by other teams" not in page
    assert "of Default" in page
    client.post("/t/others/target-offers/default/gpu/decline/")
    assert "of Default" not in client.get("/t/others/targets/").text


def test_an_admin_of_both_teams_needs_no_second_step(
    client: Client, alice: User, others: Team
) -> None:
    join(others, alice, Role.ADMIN)
    put = send(client, "PUT", f"{GRANTS}/others", alice)
    assert put.json()["is_accepted"] is True
    assert targets_for(others).exists()


def test_an_offer_goes_with_its_target(
    client: Client, alice: User, charlie: User, others: Team
) -> None:
    send(client, "PUT", f"{GRANTS}/others", alice)
    assert send(client, "DELETE", GRANTS.removesuffix("/grants"), alice).status_code == 204
    assert send(client, "GET", OFFERS, charlie).json() == []
