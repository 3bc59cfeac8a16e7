"""Adds, changes and deletes compute targets, and grants them to teams."""

from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from workspace.audit import audit
from workspace.compute.registry import kind_info
from workspace.models import ComputeTarget, TargetGrant, Team
from workspace.platform.errors import Conflict, FieldError
from workspace.targets.rules import apply_settings, given_settings
from workspace.targets.selectors import LOCAL_POOL, targets_for
from workspace.targets.server_access import address_errors
from workspace.targets.settings import (
    PEM_TEXTS,
    SECRETS,
    GrantSettings,
    NewTarget,
    TargetSettings,
    column_of,
)

# Each is asked for its nodes and processes as long as it exists.
MAX_TARGETS = 100


def add_target(*, team: Team, by: User, new: NewTarget) -> ComputeTarget:
    """Create a compute target of a team, which has at most `MAX_TARGETS`."""
    if ComputeTarget.objects.filter(team=team, deleted_at=None).count() >= MAX_TARGETS:
        raise Conflict(
            f"{team.name} has {MAX_TARGETS} compute targets, which is the limit. Delete one that"
            " nothing uses first."
        )
    pool = LOCAL_POOL if kind_info(new.kind).is_this_machine else ""
    target = ComputeTarget(team=team, name=new.name, kind=new.kind, pool=pool)
    if targets_for(team).filter(name=new.name).exists():
        raise _name_taken(target)
    apply_settings(target, new, by=by, refused_address=address_errors(new, by))
    with transaction.atomic():
        try:
            with transaction.atomic():
                target.save()
        except IntegrityError as error:
            raise _name_taken(target) from error
        given = {name: value for name, value in given_settings(new).items() if value}
        audit(
            team=team,
            actor=by,
            action="target.create",
            subject=new.name,
            kind=new.kind,
            **_redacted(given),
        )
    return target


def update_target(
    *, target: ComputeTarget, by: User, settings: TargetSettings, leave_behind: bool = False
) -> None:
    """Change the settings of a target that are given; an empty secret removes it.

    At a new address processes of runs and services that are over are looked for again; that those
    of the old one may stay there has to be accepted by `leave_behind`.

    A new address needs the private key and the registry password again, a new registry its
    password, so that a stored secret is only ever used where it was meant to be.
    """
    refused_address = address_errors(settings, by)
    with transaction.atomic():
        before = ComputeTarget.objects.select_for_update().get(pk=target.pk)
        # What others changed since it was read stays, and they are who gave the address.
        target.refresh_from_db()
        apply_settings(target, settings, by=by, before=before, refused_address=refused_address)
        _save_changes(target, before, by, settings, leave_behind=leave_behind)


def _save_changes(
    target: ComputeTarget,
    before: ComputeTarget,
    by: User,
    settings: TargetSettings,
    *,
    leave_behind: bool,
) -> None:
    if target.address != before.address:
        if (
            target.runs.filter(ended_at=None).exists()
            or target.services.filter(deleted_at=None, is_wanted=True).exists()
        ):
            message = "The address can't change while runs or services use this target."
            raise Conflict(message, errors=[FieldError("address", message)])
        _require_leave(target, leave_behind, "address")
        target.unreachable_since = None
        target.unreachable_reason = ""
    if (target.address, target.is_trusted) != (before.address, before.is_trusted):
        target.pool = ""
    columns = [
        field.attname
        for field in ComputeTarget._meta.concrete_fields
        if getattr(before, field.attname) != getattr(target, field.attname)
    ]
    target.save(update_fields=columns)
    changed = {
        name: value
        for name, value in given_settings(settings).items()
        if name in SECRETS or column_of(name) in columns
    }
    audit(
        team=target.team,
        actor=by,
        action="target.update",
        subject=target.name,
        **_redacted(changed),
    )


@transaction.atomic
def delete_target(*, target: ComputeTarget, by: User, leave_behind: bool = False) -> None:
    """Delete a target; what ran on it keeps its name.

    That processes of runs and services that are over may stay on its engine has to be accepted by
    `leave_behind`.
    """
    if is_in_use(target):
        raise Conflict(
            f"{target.name} still has runs or services: cancel or delete them first, or drain the"
            " target so that nothing new starts on it."
        )
    _require_leave(target, leave_behind)
    target.groups.filter(removed_at=None).mark_removed()
    try:
        with transaction.atomic():
            ComputeTarget.objects.filter(pk=target.pk).delete()
    except ProtectedError:
        target.grants.all().delete()
        target.offers.all().delete()
        ComputeTarget.objects.filter(pk=target.pk).update(
            deleted_at=timezone.now(), encrypted_tls_key="", encrypted_registry_password=""
        )
    audit(team=target.team, actor=by, action="target.delete", subject=target.name)


def is_in_use(target: ComputeTarget, team: Team | None = None) -> bool:
    """Return whether a target has unfinished runs or services, of one team or of any."""
    of_team = {} if team is None else {"team": team}
    return (
        target.runs.filter(ended_at=None, **of_team).exists()
        or target.services.filter(deleted_at=None, **of_team).exists()
    )


def left_behind(target: ComputeTarget) -> list[str]:
    """Name the groups of processes that may still be on a target, whoever wants them."""
    groups = target.groups.filter(removed_at=None).order_by("pk")
    return [str(label) for label in groups.values_list("label", flat=True)]


def _require_leave(target: ComputeTarget, leave_behind: bool, field: str = "") -> None:
    """Raise Conflict, with the question, where nobody agreed to leave what may be left."""
    left = left_behind(target)
    if not left or leave_behind:
        return
    names = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    message = (
        f"The processes of {names} may still run on {target.name}, which has not removed"
        " them. Wait until it answers, or accept that they are left there (leave_behind)."
    )
    raise Conflict(message, errors=[FieldError(field, message)] if field else ())


@transaction.atomic
def grant_target(
    *, target: ComputeTarget, by: User, team: Team, limits: GrantSettings
) -> TargetGrant:
    """Let a team use a target within limits, or change them; its owner's are limits alone.

    Another team must have accepted it (`workspace.targets.sharing`).
    """
    grant = TargetGrant.objects.filter(target=target, team=team).first()
    if grant is None:
        grant = TargetGrant(target=target, team=team)
        if team != target.team and targets_for(team).filter(name=target.name).exists():
            message = f"{team.name} has another compute target called {target.name}."
            raise Conflict(message, errors=[FieldError("team", message)])
    for name, value in limits.model_dump().items():
        setattr(grant, name, value)
    grant.save()
    for heard_by in {target.team, team}:
        audit(
            team=heard_by,
            actor=by,
            action="target.grant",
            subject=target.name,
            to=team.slug,
            **limits.model_dump(),
        )
    return grant


@transaction.atomic
def revoke_grant(*, grant: TargetGrant, by: User) -> None:
    """Remove a team's access to a target, or the limits of its owner."""
    target, team = grant.target, grant.team
    if team != target.team and (
        is_in_use(target, team) or target.groups.filter(removed_at=None, team=team).exists()
    ):
        raise Conflict(
            f"{team.name} still has runs or services on {target.name}. Limit it to 0 runs, so that"
            " nothing new starts, and remove its access when they have ended."
        )
    grant.delete()
    for heard_by in {target.team, team}:
        audit(team=heard_by, actor=by, action="target.revoke", subject=target.name, of=team.slug)


def _redacted(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what the audit log may hold of the given fields: no secret, and no long text."""
    return {
        name: ("given" if value else "removed") if name in {*PEM_TEXTS, *SECRETS} else value
        for name, value in fields.items()
    }


def _name_taken(target: ComputeTarget) -> Conflict:
    message = f"{target.team.name} already has a compute target {target.name!r}."
    return Conflict(message, errors=[FieldError("name", message)])
