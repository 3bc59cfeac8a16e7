"""The verbs of compute targets: add, change, delete, and let teams use them."""

import math
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from workspace.errors import Conflict, FieldError, Invalid
from workspace.models import ComputeTarget, Role, TargetGrant, TargetKind, Team
from workspace.selectors import LOCAL_POOL, targets_for
from workspace.services import audit, model_errors
from workspace.target_rules import LONG_TEXTS, SECRETS, fill


def add_target(
    *,
    team: Team,
    by: User,
    name: str,
    kind: TargetKind,
    without_tls: bool = False,
    **fields: Any,
) -> ComputeTarget:
    """Give a team a compute target. Secrets come as `tls_key` and `registry_password`."""
    pool = LOCAL_POOL if kind == TargetKind.LOCAL else ""
    target = ComputeTarget(team=team, name=name, kind=kind, pool=pool)
    if targets_for(team).filter(name=name).exists():
        raise _name_taken(target)
    fill(target, fields, without_tls=without_tls)
    with transaction.atomic():
        try:
            with transaction.atomic():
                target.save()
        except IntegrityError as error:
            raise _name_taken(target) from error
        audit(
            team=team,
            actor=by,
            action="target.create",
            subject=name,
            kind=kind,
            **_told({name: value for name, value in fields.items() if value}),
        )
    return target


@transaction.atomic
def update_target(
    *, target: ComputeTarget, by: User, without_tls: bool | None = None, **changes: Any
) -> None:
    """Change what a target allows or how it is reached; an empty secret takes it away.

    Another address asks for the private key again, another registry for its password, so that a
    stored secret is only ever used where it was meant to be.
    """
    before = ComputeTarget.objects.get(pk=target.pk)
    fill(target, changes, without_tls=without_tls, before=before)
    if target.address != before.address:
        if is_used(target):
            message = "Runs or services are on it: it can be reached elsewhere once they ended."
            raise Conflict(message, errors=[FieldError("address", message)])
        target.pool = ""
        target.unreachable_since = None
        target.unreachable_because = ""
    columns = [
        field.attname
        for field in ComputeTarget._meta.concrete_fields
        if getattr(before, field.attname) != getattr(target, field.attname)
    ]
    target.save(update_fields=columns)
    changed = {name: value for name, value in changes.items() if name in SECRETS or name in columns}
    audit(
        team=target.team,
        actor=by,
        action="target.update",
        subject=target.name,
        **_told(changed),
    )


@transaction.atomic
def delete_target(*, target: ComputeTarget, by: User) -> None:
    """Take a target away; what ran on it keeps its name."""
    if is_used(target):
        raise Conflict(
            f"{target.name} still has runs or services: cancel or delete them first, or drain the"
            " target so that nothing new comes to it."
        )
    try:
        with transaction.atomic():
            ComputeTarget.objects.filter(pk=target.pk).delete()
    except ProtectedError:
        target.grants.all().delete()
        ComputeTarget.objects.filter(pk=target.pk).update(
            deleted_at=timezone.now(), sealed_tls_key="", sealed_registry_password=""
        )
    audit(team=target.team, actor=by, action="target.delete", subject=target.name)


def is_used(target: ComputeTarget, team: Team | None = None) -> bool:
    """Tell whether runs or services, of one team or of any, wait for a target or are on it."""
    of_team = {} if team is None else {"team": team}
    return (
        target.runs.filter(ended_at=None, **of_team).exists()
        or target.services.filter(deleted_at=None, **of_team).exists()
        or target.groups.filter(removed_at=None, **of_team).exists()
    )


@transaction.atomic
def grant_target(*, target: ComputeTarget, by: User, team: Team, **limits: Any) -> TargetGrant:
    """Let a team use a target within limits, or change them; its owner's are limits alone."""
    grant = TargetGrant.objects.filter(target=target, team=team).first()
    if grant is None:
        grant = TargetGrant(target=target, team=team)
        if team != target.team and targets_for(team).filter(name=target.name).exists():
            message = f"{team.name} has another compute target called {target.name}."
            raise Conflict(message, errors=[FieldError("team", message)])
    for name, value in limits.items():
        setattr(grant, name, value)
    errors = model_errors(grant)
    hours = grant.gpu_hours_a_month
    if hours is not None and not (math.isfinite(hours) and hours >= 0):
        errors.append(FieldError("gpu_hours_a_month", "Give a number of hours from 0 on."))
    if grant.min_role == Role.VIEWER:
        errors.append(FieldError("min_role", "Viewers submit nothing: choose member or admin."))
    if errors:
        raise Invalid.of(*errors)
    grant.save()
    for heard_by in {target.team, team}:
        audit(
            team=heard_by,
            actor=by,
            action="target.grant",
            subject=target.name,
            to=team.slug,
            **limits,
        )
    return grant


@transaction.atomic
def revoke_grant(*, grant: TargetGrant, by: User) -> None:
    """Take a team's use of a target away, or the limits of its owner."""
    target, team = grant.target, grant.team
    if team != target.team and is_used(target, team):
        raise Conflict(
            f"{team.name} still has runs or services on {target.name}. Let it have 0 runs at most,"
            " so that nothing new starts, until they ended."
        )
    grant.delete()
    for heard_by in {target.team, team}:
        audit(team=heard_by, actor=by, action="target.revoke", subject=target.name, of=team.slug)


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    """Give what the audit log may hold of the given fields: no secret, and no long text."""
    return {
        name: ("given" if value else "removed") if name in LONG_TEXTS else value
        for name, value in fields.items()
    }


def _name_taken(target: ComputeTarget) -> Conflict:
    message = f"{target.team.name} already has a compute target {target.name!r}."
    return Conflict(message, errors=[FieldError("name", message)])
