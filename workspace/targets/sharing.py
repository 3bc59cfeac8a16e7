"""Shares compute targets between teams: one offers, and only when the other accepts does it count.

An offer names the other team by its slug and is stored whether there is such a team or not, so that
nobody learns which teams exist.
"""

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet

from workspace.accounts.selectors import membership
from workspace.audit import audit
from workspace.models import ComputeTarget, TargetGrant, TargetOffer, Team
from workspace.platform.errors import Conflict, FieldError, Invalid, NotFound
from workspace.targets.selectors import targets_for
from workspace.targets.server_access import require_server_admin_to_share
from workspace.targets.services import grant_target, revoke_grant
from workspace.targets.settings import SLUG, SLUG_HINT, GrantSettings

MAX_OFFERS = 100


@transaction.atomic
def offer_target(
    *, target: ComputeTarget, by: User, to: str, limits: GrantSettings
) -> TargetGrant | TargetOffer:
    """Offer a target to a team within limits, or change those of a share that is accepted.

    The owner's own limits, and a share between two teams of which `by` is an admin, count at once.
    """
    if not SLUG.fullmatch(to):
        raise Invalid.of(FieldError("team", f"Use the team's short name: {SLUG_HINT}."))
    if to == target.team.slug:
        return grant_target(target=target, by=by, team=target.team, limits=limits)
    require_server_admin_to_share(target, by)
    grant = TargetGrant.objects.filter(target=target, team__slug=to).first()
    if grant is not None:
        return grant_target(target=target, by=by, team=grant.team, limits=limits)
    others = target.offers.exclude(to=to)
    if others.count() >= MAX_OFFERS:
        raise Conflict(f"{target.name} is offered to {MAX_OFFERS} teams: withdraw some first.")
    values = limits.model_dump()
    offer, _ = TargetOffer.objects.update_or_create(target=target, to=to, defaults=values)
    audit(team=target.team, actor=by, action="target.offer", subject=target.name, to=to, **values)
    team = Team.objects.filter(slug=to).first()
    member = membership(by, team) if team else None
    if team and member and member.is_admin:
        return accept_offer(offer=offer, by=by, team=team)
    return offer


@transaction.atomic
def accept_offer(*, offer: TargetOffer, by: User, team: Team) -> TargetGrant:
    """Let a team use a target that it was offered, by one of its admins."""
    target = offer.target
    if targets_for(team).filter(name=target.name).exists():
        message = (
            f"{team.name} already has a compute target called {target.name}. Delete that one first,"
            f" or ask {target.team.name} for one with another name."
        )
        raise Conflict(message, errors=[FieldError("name", message)])
    limits = GrantSettings(**{name: getattr(offer, name) for name in GrantSettings.model_fields})
    offer.delete()
    return grant_target(target=target, by=by, team=team, limits=limits)


@transaction.atomic
def withdraw_share(*, target: ComputeTarget, by: User, to: str) -> None:
    """Take back an offer, or the access that a team accepted. Raises NotFound without either."""
    if grant := TargetGrant.objects.filter(target=target, team__slug=to).first():
        revoke_grant(grant=grant, by=by)
        return
    deleted, _ = target.offers.filter(to=to).delete()
    if not deleted:
        raise NotFound(f"{to} has no access to {target.name}.")
    audit(team=target.team, actor=by, action="target.revoke", subject=target.name, of=to)


@transaction.atomic
def decline_share(*, team: Team, by: User, owner: str, name: str) -> None:
    """Decline an offer, or give back a target that was accepted, by an admin of its receiver."""
    grant = TargetGrant.objects.filter(
        team=team, target__team__slug=owner, target__name=name, target__deleted_at=None
    ).first()
    if grant is not None and grant.target.team_id != team.pk:
        revoke_grant(grant=grant, by=by)
        return
    offer = offer_for(team, owner, name)
    target = offer.target
    offer.delete()
    for heard_by in (target.team, team):
        audit(team=heard_by, actor=by, action="target.decline", subject=name, of=team.slug)


def offers_for(team: Team) -> QuerySet[TargetOffer]:
    """Return the targets that other teams offer to a team."""
    return (
        TargetOffer.objects.filter(to=team.slug, target__deleted_at=None)
        .select_related("target__team")
        .order_by("target__team__slug", "target__name")
    )


def offer_for(team: Team, owner: str, name: str) -> TargetOffer:
    """Return one offer to a team by the owner's slug and the target's name."""
    offer = offers_for(team).filter(target__team__slug=owner, target__name=name).first()
    if offer is None:
        raise NotFound(f"{team.name} was offered no compute target {name!r} of {owner!r}.")
    return offer
