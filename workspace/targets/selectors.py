"""Compute targets: which a team may use, and why it may not use one."""

from django.contrib.auth.models import User
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from workspace.accounts.selectors import membership
from workspace.compute.registry import KINDS
from workspace.models import AuditEntry, ComputeTarget, Role, TargetGrant, Team
from workspace.platform.errors import Forbidden, NotFound
from workspace.targets.pools import pool_problem

LOCAL_POOL = "local"


def targets_for(team: Team) -> QuerySet[ComputeTarget]:
    """Return the targets that a team may use, its own and those it was granted, by name.

    No two of them share a name.
    """
    granted = TargetGrant.objects.filter(team=team).values("target")
    return (
        ComputeTarget.objects.filter(Q(team=team) | Q(pk__in=granted))
        .select_related("team")
        .order_by("name")
    )


def target_for(team: Team, name: str) -> ComputeTarget:
    """Return a target that a team may use."""
    target = targets_for(team).filter(name=name).first()
    if target is None:
        raise NotFound(f"{team.name} has no compute target {name!r}.")
    return target


def own_target(team: Team, name: str) -> ComputeTarget:
    """Return a target that a team owns, whose admins may change it."""
    target = target_for(team, name)
    if target.team != team:
        raise Forbidden(f"{name} belongs to {target.team.name}. Only its admins can change it.")
    return target


def trusted_targets_of_teams() -> QuerySet[ComputeTarget]:
    """Return the trusted engines that, as far as known, no admin of the installation added.

    `added_by` is the name of who did, or None once the audit entry is gone.
    """
    created = AuditEntry.objects.filter(
        team=OuterRef("team"), action="target.create", subject=OuterRef("name")
    ).order_by("-at")
    return (
        ComputeTarget.objects.filter(is_trusted=True)
        .exclude(address="")
        .annotate(
            added_by=Subquery(created.values("actor__username")[:1]),
            is_of_admin=Coalesce(Subquery(created.values("actor__is_superuser")[:1]), False),
        )
        .filter(is_of_admin=False)
        .select_related("team")
        .order_by("team__slug", "name")
    )


def targets_sharing_nodes_with(target: ComputeTarget) -> QuerySet[ComputeTarget]:
    """Return the other targets that stand for the same machines, of whatever team."""
    pool = _pool_of(target)
    same = Q(pool=pool or None)
    if pool == LOCAL_POOL:
        same |= Q(kind__in=[name for name, info in KINDS.items() if info.is_this_machine])
    return ComputeTarget.objects.filter(same).exclude(pk=target.pk).select_related("team")


def share_nodes(one: ComputeTarget, other: ComputeTarget) -> bool:
    """Return whether two targets stand for the same machines."""
    return one.pk != other.pk and bool(_pool_of(one)) and _pool_of(one) == _pool_of(other)


def _pool_of(target: ComputeTarget) -> str:
    return LOCAL_POOL if target.kind_info.is_this_machine else target.pool


def use_problem(target: ComputeTarget, team: Team, by: User | None) -> str:
    """Return why a member of a team may bring nothing new to a target; nothing when they may."""
    if target.is_draining:
        return (
            f"The compute target {target.name} is draining: running work continues, and nothing new"
            " is accepted. Choose another, or ask an admin."
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
    """Return why nobody may run code on a local target now; nothing when they may."""
    if target.kind_info.isolates_users or target.allow_shared:
        return ""
    if User.objects.filter(is_active=True)[:2].count() < 2:
        return ""
    return (
        f"The compute target {target.name!r} runs code on the server itself, without a container,"
        " so every user's code could read everyone's data. As this installation has more than one"
        " user, it is disabled until the installation's admin allows it on the target's page."
    )
