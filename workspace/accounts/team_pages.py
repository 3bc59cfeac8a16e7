"""Pages of a team: who is in it, its settings, and what was done."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from workspace.accounts.forms import RoleForm, TeamForm, TeamSettingsForm
from workspace.accounts.selectors import memberships_of, open_invitations, team_for
from workspace.accounts.services import (
    change_role,
    create_team,
    invite,
    remove_member,
    revoke_invitation,
    update_team,
)
from workspace.models import AuditEntry, Invitation, Membership, Role, Team
from workspace.platform.errors import Forbidden, Invalid, NotFound
from workspace.platform.forms import add_domain_errors
from workspace.platform.requests import SignedInRequest, is_whole_number

AUDIT_PAGE = 50


@require_http_methods(["GET", "HEAD", "POST"])
def teams(request: SignedInRequest) -> HttpResponse:
    """List a person's teams; whoever looks after the installation makes new ones."""
    form = TeamForm(request.POST or None)
    if request.method == "POST":
        if not request.user.is_superuser:
            raise Forbidden("Only the installation's admin can create teams.")
        if form.is_valid():
            try:
                team = create_team(**form.cleaned_data, admin=request.user)
            except Invalid as invalid:
                add_domain_errors(form, invalid)
            else:
                messages.success(request, f"Created the team {team.name}. Invite its members.")
                return redirect("workspace:members", team.slug)
    context = {"form": form, "memberships": memberships_of(request.user)}
    return render(request, "workspace/teams.html", context, status=422 if form.is_bound else 200)


@require_safe
def members(request: SignedInRequest, slug: str) -> HttpResponse:
    return _members_page(request, team_for(request.user, slug))


def _members_page(request: SignedInRequest, team: Team, link: str = "") -> HttpResponse:
    context = {
        "members": team.memberships.select_related("user").order_by("user__username"),
        "invitations": open_invitations(team),
        "roles": Role.choices,
        "link": link,
    }
    return render(request, "workspace/members.html", context)


@never_cache
@require_POST
def member_invite(request: SignedInRequest, slug: str) -> HttpResponse:
    """Make an invitation; only this answer holds its link."""
    team = team_for(request.user, slug, Role.ADMIN)
    _, secret = invite(team=team, role=_role(request), by=request.user)
    link = request.build_absolute_uri(reverse("workspace:invitation", args=[secret]))
    return _members_page(request, team, link)


@require_POST
def invitation_revoke(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    team = team_for(request.user, slug, Role.ADMIN)
    invitation = Invitation.objects.filter(team=team, pk=pk).first()
    if invitation is None:
        raise NotFound(f"{team.name} has no such invitation.")
    revoke_invitation(invitation=invitation, by=request.user)
    messages.success(request, "Revoked the invitation.")
    return redirect("workspace:members", slug)


@require_POST
def member_role(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    member = _member(team_for(request.user, slug, Role.ADMIN), pk)
    role = _role(request)
    change_role(member=member, role=role, by=request.user)
    messages.success(request, f"{member.user} is now {role} of {member.team.name}.")
    return redirect("workspace:members", slug)


@require_POST
def member_remove(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    member = _member(team_for(request.user, slug, Role.ADMIN), pk)
    remove_member(member=member, by=request.user)
    messages.success(request, f"{member.user} no longer belongs to {member.team.name}.")
    if member.user == request.user:
        return redirect("workspace:home")
    return redirect("workspace:members", slug)


@require_POST
def leave(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    remove_member(member=team.memberships.get(user=request.user), by=request.user)
    messages.success(request, f"You have left {team.name}.")
    return redirect("workspace:home")


@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, Role.ADMIN)
    form = TeamSettingsForm(request.POST or None, initial=TeamSettingsForm.initial_of(team))
    if request.method == "POST" and form.is_valid():
        try:
            update_team(team=team, by=request.user, **form.changes())
        except Invalid as invalid:
            add_domain_errors(form, invalid)
        else:
            messages.success(request, "Saved the settings.")
            return redirect("workspace:settings", slug)
    return render(
        request,
        "workspace/settings.html",
        {"form": form},
        status=422 if form.is_bound else 200,
    )


@require_safe
def audit_log(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show what was done in a team, the newest first; `before` is the id to go on from."""
    team = team_for(request.user, slug, Role.ADMIN)
    entries = AuditEntry.objects.filter(team=team).select_related("actor").order_by("-pk")
    before = request.GET.get("before", "")
    if is_whole_number(before, max_digits=18):
        entries = entries.filter(pk__lt=int(before))
    shown = list(entries[: AUDIT_PAGE + 1])
    more = len(shown) > AUDIT_PAGE
    context = {
        "entries": shown[:AUDIT_PAGE],
        "newer": reverse("workspace:audit", args=[slug]) if before else "",
        "older": f"?before={shown[AUDIT_PAGE - 1].pk}" if more else "",
    }
    return render(request, "workspace/audit.html", context)


def _member(team: Team, pk: int) -> Membership:
    member = team.memberships.select_related("user", "team").filter(pk=pk).first()
    if member is None:
        raise NotFound(f"{team.name} has no such member.")
    return member


def _role(request: SignedInRequest) -> Role:
    form = RoleForm(request.POST)
    if not form.is_valid():
        raise Invalid(f"role: Use one of {', '.join(Role.values)}.")
    return Role(form.cleaned_data["role"])
