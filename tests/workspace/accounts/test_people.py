"""Invitations, members and roles, teams, tokens and the audit log, as their pages show them."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.factories import bearer, join, make_team, make_token, make_user
from workspace.accounts.tokens import RECORD_USE_INTERVAL
from workspace.audit import audit
from workspace.models import ApiToken, AuditEntry, Invitation, Membership, Role, Scope, Team


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def make_link(admin: User, role: str = "member") -> str:
    """Invite through the page and give the address that it shows."""
    page = signed_in(admin).post("/t/default/members/invite/", {"role": role})
    match = re.search(r"http://testserver(/invitations/[^/]+/)", page.text)
    assert match
    return match[1]


def test_a_newcomer_makes_an_account_by_an_invitation(alice: User, client: Client) -> None:
    link = make_link(alice, "viewer")
    page = client.get(link)
    assert "Join Default" in page.text
    assert "alice invites you with the role viewer" in page.text
    answer = client.post(
        link, {"username": "dora", "password": "doras pass phrase", "again": "doras pass phrase"}
    )
    assert answer.headers["Location"] == "/t/default/runs/"
    assert Membership.objects.get(user__username="dora").role == Role.VIEWER
    assert client.get("/t/default/members/").status_code == 200


def test_a_user_joins_another_team_by_an_invitation(alice: User, charlie: User) -> None:
    link = make_link(alice)
    client = signed_in(charlie)
    assert "Join as charlie" in client.get(link).text
    assert client.get("/t/default/members/").status_code == 404
    client.post(link)
    assert client.get("/t/default/members/").status_code == 200


def test_an_invitation_works_once(alice: User, charlie: User, client: Client) -> None:
    link = make_link(alice)
    signed_in(charlie).post(link)
    page = client.get(link)
    assert page.status_code == 404
    assert "used, revoked or expired" in page.text
    again = {"username": "dora", "password": "doras pass phrase", "again": "doras pass phrase"}
    assert client.post(link, again).status_code == 404
    assert not User.objects.filter(username="dora").exists()


def test_an_invitation_ends_after_a_week(alice: User, client: Client) -> None:
    link = make_link(alice)
    assert client.get(link).status_code == 200
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.get(link).status_code == 404


def test_a_revoked_invitation_is_useless(alice: User, client: Client) -> None:
    link = make_link(alice)
    admin = signed_in(alice)
    admin.post(f"/t/default/invitations/{Invitation.objects.get().pk}/revoke/")
    assert client.get(link).status_code == 404


def test_an_invitation_is_not_used_up_by_a_member(alice: User, bob: User, client: Client) -> None:
    link = make_link(alice)
    assert signed_in(bob).post(link).headers["Location"] == "/t/default/runs/"
    assert client.get(link).status_code == 200


def test_the_link_of_an_invitation_is_stored_nowhere(alice: User) -> None:
    secret = make_link(alice).split("/")[2]
    assert secret not in str(Invitation.objects.values().get())
    assert secret not in str(list(AuditEntry.objects.values()))
    assert secret not in signed_in(alice).get("/t/default/members/").text


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"username": "BOB", "password": "a pass phrase", "again": "a pass phrase"}, "is taken"),
        ({"username": "do ra", "password": "a pass phrase", "again": "a pass phrase"}, "valid"),
        ({"username": "dora", "password": "password", "again": "password"}, "too common"),
        ({"username": "dora", "password": "a pass phrase", "again": "b"}, "passwords do not match"),
        ({"username": "dora\0", "password": "a pass phrase", "again": "a pass phrase"}, "Null"),
    ],
    ids=["taken", "not a name", "common password", "mistyped", "NUL"],
)
def test_a_bad_new_account_is_refused_beside_its_field(
    alice: User, bob: User, client: Client, form: dict[str, str], said: str
) -> None:
    link = make_link(alice)
    page = client.post(link, form)
    assert page.status_code == 422
    assert said in page.text
    assert Membership.objects.count() == 2
    assert client.get(link).status_code == 200


def test_an_admin_changes_roles_and_removes_members(alice: User, bob: User) -> None:
    admin = signed_in(alice)
    member = Membership.objects.get(user=bob)
    admin.post(f"/t/default/members/{member.pk}/role/", {"role": "viewer"})
    member.refresh_from_db()
    assert member.role == Role.VIEWER
    admin.post(f"/t/default/members/{member.pk}/remove/")
    assert signed_in(bob).get("/t/default/members/").status_code == 404


@pytest.mark.parametrize("how", ["role", "remove", "leave"])
def test_a_team_keeps_its_last_admin(alice: User, bob: User, how: str) -> None:
    member = Membership.objects.get(user=alice)
    address = "/t/default/leave/" if how == "leave" else f"/t/default/members/{member.pk}/{how}/"
    page = signed_in(alice).post(address, {"role": "member"})
    assert page.status_code == 409
    assert "last admin" in page.text
    member.refresh_from_db()
    assert member.role == Role.ADMIN


def test_an_admin_leaves_when_there_is_another(alice: User, bob: User) -> None:
    Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    assert signed_in(alice).post("/t/default/leave/").headers["Location"] == "/"
    assert signed_in(alice).get("/t/default/members/").status_code == 404


def test_members_of_one_team_are_out_of_reach_from_another(alice: User, charlie: User) -> None:
    make_team("others", admin=charlie)
    member = Membership.objects.get(user=alice)
    page = signed_in(charlie).post(f"/t/others/members/{member.pk}/remove/")
    assert page.status_code == 404
    assert Membership.objects.filter(pk=member.pk).exists()


def test_a_role_that_does_not_exist_is_refused(alice: User, bob: User) -> None:
    member = Membership.objects.get(user=bob)
    page = signed_in(alice).post(f"/t/default/members/{member.pk}/role/", {"role": "owner"})
    assert page.status_code == 400
    assert "viewer, member, admin" in page.text


def test_a_user_sees_their_teams_and_no_others(alice: User, charlie: User) -> None:
    make_team("others", admin=charlie)
    page = signed_in(alice).get("/teams/")
    assert "Default" in page.text
    assert "Others" not in page.text


def test_only_the_installations_admin_makes_teams(alice: User) -> None:
    form = {"name": "Vision", "slug": "vision"}
    assert signed_in(alice).post("/teams/", form).status_code == 403
    alice.is_superuser = True
    alice.save()
    assert signed_in(alice).post("/teams/", form).headers["Location"] == "/t/vision/members/"
    assert Membership.objects.get(team__slug="vision").role == Role.ADMIN
    again = signed_in(alice).post("/teams/", form)
    assert again.status_code == 422
    assert "already exists" in again.text
    bad = signed_in(alice).post("/teams/", {"name": "V", "slug": "Not A Slug"})
    assert "lowercase letters" in bad.text


def test_an_admin_changes_the_teams_limits(alice: User, team: Team) -> None:
    admin = signed_in(alice)
    form = {"name": "Vision", "snapshot_max_mb": 500, "snapshot_max_files": 10}
    assert admin.post("/t/default/settings/", form).status_code == 302
    team.refresh_from_db()
    assert (team.name, team.snapshot_max_bytes) == ("Vision", 500 * 10**6)
    assert admin.post("/t/default/settings/", {**form, "snapshot_max_mb": 0}).status_code == 422


def test_a_token_is_shown_once_and_stored_hashed(alice: User, client: Client) -> None:
    admin = signed_in(alice)
    page = admin.post("/account/", {"name": "ci", "scope": "read", "days": "30"})
    match = re.search(r"ty_[0-9a-f]{40}", page.text)
    assert match
    assert match[0] not in admin.get("/account/").text
    assert match[0] not in str(ApiToken.objects.values().get())
    answer = client.get("/api/v1/teams", headers={"Authorization": f"Bearer {match[0]}"})
    assert answer.status_code == 200
    assert 'data-label="Last used"><time' in admin.get("/account/").text


def test_a_token_may_have_no_end(alice: User) -> None:
    signed_in(alice).post("/account/", {"name": "ci", "scope": "write", "days": ""})
    assert ApiToken.objects.get().expires_at is None


def test_a_revoked_token_is_refused_at_once(alice: User, client: Client) -> None:
    headers = bearer(alice)
    assert client.get("/api/v1/teams", headers=headers).status_code == 200
    signed_in(alice).post(f"/account/tokens/{ApiToken.objects.get().pk}/revoke/")
    assert client.get("/api/v1/teams", headers=headers).status_code == 401


def test_nobody_revokes_a_token_of_another(alice: User, charlie: User) -> None:
    make_token(alice)
    address = f"/account/tokens/{ApiToken.objects.get().pk}/revoke/"
    assert signed_in(charlie).post(address).status_code == 404
    assert ApiToken.objects.get().revoked_at is None


def test_the_last_use_of_a_token_is_written_at_most_once_a_minute(
    alice: User, client: Client
) -> None:
    headers = bearer(alice)
    client.get("/api/v1/teams", headers=headers)
    first = ApiToken.objects.get().last_used_at
    client.get("/api/v1/teams", headers=headers)
    assert first is not None
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=first - RECORD_USE_INTERVAL)
    client.get("/api/v1/teams", headers=headers)
    assert ApiToken.objects.get().last_used_at >= first  # type: ignore[operator]


def test_the_audit_log_tells_who_did_what_page_by_page(alice: User, team: Team) -> None:
    for number in range(120):
        audit(team=team, actor=alice, action="run.submit", subject=f"run <{number}>")
    audit(team=make_team("others"), actor=None, action="team.create", subject="elsewhere")
    admin = signed_in(alice)
    seen: list[str] = []
    address = "/t/default/audit/"
    while address:
        page = admin.get(address).text
        assert "elsewhere" not in page
        seen += re.findall(r"run &lt;(\d+)&gt;", page)
        older = re.search(r'href="(\?before=\d+)"[^>]*rel="next"', page)
        address = f"/t/default/audit/{older[1]}" if older else ""
    assert seen == [str(number) for number in reversed(range(120))]


def test_the_last_of_two_admins_to_leave_stays(team: Team) -> None:
    first, second = make_user(), make_user()
    join(team, first, Role.ADMIN)
    join(team, second, Role.ADMIN)
    assert signed_in(first).post("/t/default/leave/").status_code == 302
    assert signed_in(second).post("/t/default/leave/").status_code == 409


def test_scopes_of_tokens_cover_those_below() -> None:
    assert Scope.ADMIN.covers(Scope.READ)
    assert Scope.WRITE.covers(Scope.WRITE)
    assert not Scope.READ.covers(Scope.WRITE)


def test_pages_of_no_team_lead_back_to_the_team_that_was_looked_at_last(
    client: Client, team: Team, alice: User
) -> None:
    other = make_team("zebra", admin=alice)
    client.force_login(alice)
    assert f"/t/{team.slug}/runs/" in client.get("/account/").content.decode()
    client.get(f"/t/{other.slug}/members/")
    page = client.get("/account/").content.decode()
    assert f'href="/t/{other.slug}/models/"' in page
    assert f'href="/t/{team.slug}/models/"' not in page
