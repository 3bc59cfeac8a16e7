"""Reads of the workspace that need more than one line."""

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from workspace.errors import Forbidden, NotFound
from workspace.models import (
    ComputeTarget,
    Environment,
    Invitation,
    Membership,
    Role,
    TargetGrant,
    TargetKind,
    Team,
)
from workspace.pools import pool_problem
from workspace.tokens import digest_of

LOCAL_POOL = "local"


def membership(user: User | AnonymousUser, team: Team) -> Membership | None:
    if not isinstance(user, User):
        return None
    return Membership.objects.filter(user=user, team=team).first()


def memberships_of(user: User | AnonymousUser) -> QuerySet[Membership]:
    """Give a user's memberships with their teams, by the team's name."""
    if not isinstance(user, User):
        return Membership.objects.none()
    return Membership.objects.filter(user=user).select_related("team").order_by("team__name")


def membership_for(user: User | AnonymousUser, slug: str, role: Role = Role.VIEWER) -> Membership:
    """Give a user's membership in a team, with the team, if its role covers `role`.

    A stranger cannot tell a team of others from one that does not exist.
    """
    found = memberships_of(user).filter(team__slug=slug).first()
    if found is None:
        raise NotFound(f"There is no team {slug!r} that you belong to.")
    if not Role(found.role).covers(role):
        raise Forbidden(
            f"This needs the role {role} in {found.team.name}; yours is {found.role}. Ask an admin"
            " of the team."
        )
    return found


def team_for(user: User | AnonymousUser, slug: str, role: Role = Role.VIEWER) -> Team:
    """Give a team that the user belongs to with at least `role`."""
    return membership_for(user, slug, role).team


def invitation_of(secret: str) -> Invitation:
    """Give the open invitation that a link is for."""
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


def targets_for(team: Team) -> QuerySet[ComputeTarget]:
    """Give the targets that a team may use, its own and those it was granted, by name.

    No two of them share a name.
    """
    granted = TargetGrant.objects.filter(team=team).values("target")
    return (
        ComputeTarget.objects.filter(Q(team=team) | Q(pk__in=granted))
        .select_related("team")
        .order_by("name")
    )


def target_for(team: Team, name: str) -> ComputeTarget:
    """Give a target that a team may use."""
    target = targets_for(team).filter(name=name).first()
    if target is None:
        raise NotFound(f"{team.name} has no compute target {name!r}.")
    return target


def own_target(team: Team, name: str) -> ComputeTarget:
    """Give a target that a team owns, whose admins may change it."""
    target = target_for(team, name)
    if target.team != team:
        raise Forbidden(f"{name} belongs to {target.team.name}, whose admins look after it.")
    return target


def sharers_of(target: ComputeTarget) -> QuerySet[ComputeTarget]:
    """Give the other targets that stand for the same machines, of whatever team."""
    if target.kind == TargetKind.LOCAL:
        same = Q(kind=TargetKind.LOCAL) | Q(pool=LOCAL_POOL)
    else:
        same = Q(pool=target.pool or None)
        if target.pool == LOCAL_POOL:
            same |= Q(kind=TargetKind.LOCAL)
    return ComputeTarget.objects.filter(same).exclude(pk=target.pk).select_related("team")


def use_problem(target: ComputeTarget, team: Team, by: User | None) -> str:
    """Say why a member of a team may bring nothing new to a target; nothing when they may."""
    if target.is_draining:
        return (
            f"The compute target {target.name} is being drained: what runs goes on, and nothing new"
            " is taken. Choose another, or ask an admin."
        )
    grant = TargetGrant.objects.filter(target=target, team=team).first()
    role = membership(by, team) if by else None
    if grant and role and not Role(role.role).covers(Role(grant.min_role)):
        return (
            f"The compute target {target.name} is for the role {grant.min_role} of {team.name};"
            f" yours is {role.role}."
        )
    return local_use_problem(target) or pool_problem(target)


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


def environments_of(team: Team) -> QuerySet[Environment]:
    """Give the environments that a team's runs and services use or used, the latest used first.

    `uses` counts what of all teams needs each now.
    """
    mine = Environment.objects.filter(Q(runs__team=team) | Q(groups__team=team)).values("pk")
    living_runs = Count("runs", filter=Q(runs__ended_at=None), distinct=True)
    living_groups = Count("groups", filter=Q(groups__removed_at=None), distinct=True)
    return (
        Environment.objects.filter(pk__in=mine)
        .annotate(uses=living_runs + living_groups)
        .order_by("-last_used_at")
    )
