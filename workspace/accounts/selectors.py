"""Memberships, teams and invitations: who belongs where."""

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.utils import timezone

from workspace.accounts.tokens import digest_of
from workspace.models import Invitation, Membership, Role, Team
from workspace.platform.errors import Forbidden, NotFound


def membership(user: User | AnonymousUser, team: Team) -> Membership | None:
    if not isinstance(user, User):
        return None
    return Membership.objects.filter(user=user, team=team).first()


def may(user: User | AnonymousUser, team: Team, role: Role) -> bool:
    """Return whether a user's role in a team covers `role`."""
    found = membership(user, team)
    return found is not None and Role(found.role).covers(role)


def memberships_of(user: User | AnonymousUser) -> QuerySet[Membership]:
    """Return a user's memberships with their teams, by the team's name."""
    if not isinstance(user, User):
        return Membership.objects.none()
    return Membership.objects.filter(user=user).select_related("team").order_by("team__name")


def membership_for(user: User | AnonymousUser, slug: str, role: Role = Role.VIEWER) -> Membership:
    """Return a user's membership in a team, with the team, if its role covers `role`.

    A stranger cannot tell a team of others from one that does not exist.
    """
    found = memberships_of(user).filter(team__slug=slug).first()
    if found is None:
        raise NotFound(f"There is no team {slug!r} that you belong to.")
    if not Role(found.role).covers(role):
        raise Forbidden(
            f"Requires the role {role} in {found.team.name}; you have {found.role}. Ask an admin"
            " of the team."
        )
    return found


def team_for(user: User | AnonymousUser, slug: str, role: Role = Role.VIEWER) -> Team:
    """Return a team that the user belongs to with at least `role`."""
    return membership_for(user, slug, role).team


def invitation_of(secret: str) -> Invitation:
    """Return the open invitation that a link is for."""
    invitation = (
        Invitation.objects.select_related("team", "created_by")
        .filter(digest=digest_of(secret))
        .first()
    )
    if invitation is None or not invitation.is_open:
        raise NotFound(
            "This invitation is used, revoked or expired. Ask an admin of the team for a new one."
        )
    return invitation


def open_invitations(team: Team) -> QuerySet[Invitation]:
    return (
        Invitation.objects.filter(team=team, accepted_at=None, expires_at__gt=timezone.now())
        .select_related("created_by")
        .order_by("-pk")
    )
