"""The verbs of a team's workspace: teams, members, invitations, tokens."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from workspace.accounts.passwords import new_user
from workspace.accounts.selectors import invitation_of
from workspace.accounts.tokens import SecretKind, new_secret, note_revocation
from workspace.audit import audit
from workspace.models import ApiToken, Invitation, Membership, Role, Scope, Team
from workspace.platform.errors import Conflict, FieldError, Invalid, NotFound, model_errors

INVITATION_LIFETIME = timedelta(days=7)
MAX_TOKEN_DAYS = 3650


# Teams and their members


@transaction.atomic
def create_team(*, slug: str, name: str, admin: User) -> Team:
    """Make a team whose first admin is `admin`."""
    team = Team(slug=slug, name=name.strip())
    _check(team)
    team.save()
    Membership.objects.create(team=team, user=admin, role=Role.ADMIN)
    audit(team=team, actor=admin, action="team.create", subject=slug)
    return team


@transaction.atomic
def update_team(*, team: Team, by: User, **changes: Any) -> None:
    """Change a team's name, its limits on snapshots, or how long it keeps runs."""
    _apply(team, changes)
    audit(team=team, actor=by, action="team.update", subject=team.slug, **changes)


@transaction.atomic
def change_role(*, member: Membership, role: Role, by: User) -> None:
    """Return a member another role; a team never loses its last admin."""
    before = member.role
    if before == role:
        return
    _require_another_admin(member, becomes=role)
    member.role = role
    member.save(update_fields=["role"])
    note_revocation()
    audit(
        team=member.team,
        actor=by,
        action="member.set_role",
        subject=member.user.get_username(),
        before=before,
        after=role,
    )


@transaction.atomic
def remove_member(*, member: Membership, by: User) -> None:
    """End a membership, by an admin or by the member who leaves."""
    _require_another_admin(member, becomes=None)
    member.delete()
    note_revocation()
    action = "member.leave" if member.user == by else "member.remove"
    audit(team=member.team, actor=by, action=action, subject=member.user.get_username())


def _require_another_admin(member: Membership, *, becomes: Role | None) -> None:
    if member.role != Role.ADMIN or becomes == Role.ADMIN:
        return
    # Locked, so that two admins who demote each other at once cannot both succeed.
    admins = member.team.memberships.select_for_update().filter(role=Role.ADMIN)
    if not any(admin.pk != member.pk for admin in admins):
        raise Conflict(
            f"{member.user} is the last admin of {member.team.name}: make someone else an admin"
            " first."
        )


# Invitations


@transaction.atomic
def invite(*, team: Team, role: Role, by: User) -> tuple[Invitation, str]:
    """Make an invitation for one person; its secret is given here and never again."""
    secret, digest, _ = new_secret(SecretKind.INVITATION)
    invitation = Invitation.objects.create(
        team=team,
        digest=digest,
        role=role,
        created_by=by,
        expires_at=timezone.now() + INVITATION_LIFETIME,
    )
    audit(team=team, actor=by, action="invitation.create", subject=role)
    return invitation, secret


@transaction.atomic
def revoke_invitation(*, invitation: Invitation, by: User) -> None:
    """Make an invitation's link useless."""
    deleted, _ = Invitation.objects.filter(pk=invitation.pk, accepted_at=None).delete()
    if deleted:
        audit(team=invitation.team, actor=by, action="invitation.revoke", subject=invitation.role)


@transaction.atomic
def accept_invitation(*, secret: str, user: User) -> Membership:
    """Make `user` a member of the team that the invitation is for; it works once."""
    invitation = invitation_of(secret)
    if Membership.objects.filter(team=invitation.team, user=user).exists():
        raise Conflict(f"You are already a member of {invitation.team.name}.")
    taken = Invitation.objects.filter(pk=invitation.pk, accepted_at=None).update(
        accepted_at=timezone.now(), accepted_by=user
    )
    if not taken:
        raise NotFound("This invitation was used by someone else. Ask for a new one.")
    member = Membership.objects.create(team=invitation.team, user=user, role=invitation.role)
    audit(
        team=invitation.team,
        actor=user,
        action="member.join",
        subject=user.get_username(),
        role=invitation.role,
        invited_by=invitation.created_by.get_username(),
    )
    return member


@transaction.atomic
def join_with_new_account(*, secret: str, name: str, password: str) -> User:
    """Make a user who is a member of the team they were invited to, both or neither."""
    invitation_of(secret)
    user = new_user(name=name, password=password)
    try:
        with transaction.atomic():
            user.save()
    except IntegrityError as error:
        raise Invalid.of(FieldError("username", "This user name is taken.")) from error
    accept_invitation(secret=secret, user=user)
    return user


# API tokens


def issue_token(
    *, user: User, name: str, scope: Scope, days: int | None = None
) -> tuple[ApiToken, str]:
    """Make an API token; its secret is given here and never again."""
    if days is not None and not 1 <= days <= MAX_TOKEN_DAYS:
        raise Invalid.of(
            FieldError("days", f"Use 1 to {MAX_TOKEN_DAYS} days, or null for no expiry.")
        )
    secret, digest, prefix = new_secret(SecretKind.API_TOKEN)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        scope=scope,
        digest=digest,
        prefix=prefix,
        expires_at=None if days is None else timezone.now() + timedelta(days=days),
    )
    return token, secret


def revoke_token(*, token: ApiToken) -> None:
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
    note_revocation()


def _apply(thing: models.Model, changes: dict[str, Any]) -> None:
    for field, value in changes.items():
        setattr(thing, field, value)
    _check(thing)
    thing.save(update_fields=list(changes))


def _check(thing: models.Model) -> None:
    errors = model_errors(thing)
    if errors:
        raise Invalid.of(*errors)
