"""Reads of the workspace that need more than one line."""

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet

from workspace.errors import Forbidden, NotFound
from workspace.models import ComputeTarget, Membership, Role, TargetKind, Team


def membership(user: User | AnonymousUser, team: Team) -> Membership | None:
    if not isinstance(user, User):
        return None
    return Membership.objects.filter(user=user, team=team).first()


def memberships_of(user: User | AnonymousUser) -> QuerySet[Membership]:
    """Give a user's memberships with their teams, by the team's name."""
    if not isinstance(user, User):
        return Membership.objects.none()
    return Membership.objects.filter(user=user).select_related("team").order_by("team__name")


def team_for(user: User | AnonymousUser, slug: str, role: Role = Role.VIEWER) -> Team:
    """Give a team that the user belongs to with at least `role`.

    A stranger cannot tell a team of others from one that does not exist.
    """
    found = memberships_of(user).filter(team__slug=slug).first()
    if found is None:
        raise NotFound(f"There is no team {slug!r} that you belong to.")
    if not Role(found.role).covers(role):
        raise Forbidden(
            f"This needs the role {role.label.lower()} in {found.team.name}; yours is"
            f" {Role(found.role).label.lower()}. Ask an admin of the team."
        )
    return found.team


def target_for(team: Team, name: str) -> ComputeTarget:
    target = ComputeTarget.objects.filter(team=team, name=name).first()
    if target is None:
        raise NotFound(f"{team.name} has no compute target {name!r}.")
    return target


def local_use_problem(target: ComputeTarget) -> str:
    """Say why nobody may run code on a local target now; nothing when they may."""
    if target.kind != TargetKind.LOCAL or target.allow_shared:
        return ""
    if User.objects.filter(is_active=True)[:2].count() < 2:
        return ""
    return (
        f"The compute target {target.name!r} runs code on the server itself, without a container,"
        " so every user's code could read everyone's data. As this installation has more than one"
        " user, it is off until an admin of the team allows it on the target's page."
    )
