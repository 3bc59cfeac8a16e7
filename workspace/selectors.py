"""Reads of the workspace that need more than one line."""

from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from workspace.compute.base import BackendError, Node
from workspace.compute.registry import backend_for
from workspace.errors import Forbidden, NotFound
from workspace.models import (
    ComputeTarget,
    Environment,
    Invitation,
    Membership,
    Role,
    TargetKind,
    Team,
)
from workspace.tokens import digest_of


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


@dataclass(frozen=True)
class TargetState:
    """A compute target and what its backend says of it now."""

    target: ComputeTarget
    nodes: tuple[Node, ...] = ()
    trouble: str = ""

    @property
    def use_problem(self) -> str:
        return local_use_problem(self.target)

    @property
    def word(self) -> str:
        """Say in one word whether runs start here."""
        if self.target.is_paused:
            return "paused"
        return "off" if self.use_problem else "open"


def target_state(target: ComputeTarget) -> TargetState:
    """Ask a target's backend for its nodes; what it cannot tell is told as `trouble`."""
    try:
        nodes = tuple(backend_for(target).check())
    except BackendError as error:
        return TargetState(target, trouble=str(error))
    trouble = "; ".join(f"{node.name}: {node.message}" for node in nodes if not node.healthy)
    return TargetState(target, nodes, trouble)


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
