"""The verbs that steer requests: shares, shadows, the way back, and how a service is scaled."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from deploy.configuration import Resources, Wish
from deploy.models import Revision, Service
from deploy.revisions import answering, end_shadows
from deploy.rollout import ALL
from deploy.selectors import current_revision, revisions_of
from deploy.services import add_revision, announce, update
from models.models import ModelVersion
from workspace.errors import FieldError, Invalid


@transaction.atomic
def change(*, service: Service, by: User | None, wish: Wish, version: ModelVersion | None) -> None:
    """Do all that a wish says of a service, or nothing of it."""
    set_terms(service=service, by=by, terms=wish.terms)
    if wish.is_of_new_revision or wish.replicas is not None:
        update(
            service=service,
            by=by,
            version=version,
            resources=wish.resources,
            replicas=wish.replicas,
            weight=wish.weight,
            is_shadow=wish.is_shadow,
        )
    if "traffic" in wish.said:
        share_traffic(service=service, by=by, shares=wish.shares)
    if "shadow" in wish.said and not wish.is_shadow:
        set_shadow(service=service, by=by, number=wish.shadow)


@transaction.atomic
def set_terms(*, service: Service, by: User | None, terms: Mapping[str, Any]) -> None:
    """Change how a service is scaled, tried, shared among callers, or gone back from."""
    if not terms:
        return
    Service.objects.filter(pk=service.pk).update(**terms)
    if terms.get("autoscale") == {}:
        # Without the rule that let it sleep, a service has to be awake.
        Revision.objects.filter(service=service, replica_count=0).update(replica_count=1)
    said = {name: value for name, value in terms.items() if name != "golden_request"}
    announce(service, by, "service.set_terms", fields=sorted(terms), **said)


@transaction.atomic
def share_traffic(*, service: Service, by: User | None, shares: Mapping[int, int] | None) -> None:
    """Share the requests between revisions, by number; None gives all to the newest one again.

    Revisions that are not named, or have 0, are stopped.
    """
    revisions = _locked(service)
    if shares is not None:
        _check_shares(revisions, shares)
    named = shares or {}
    newest = next(one for one in revisions if not one.is_shadow or one.number in named)
    Revision.objects.filter(service=service).update(weight=None)
    is_split = shares is not None and shares.get(newest.number) != ALL
    for number, percentage in named.items():
        Revision.objects.filter(service=service, number=number).update(
            weight=percentage if is_split else None,
            is_shadow=False,
            failure="",
            quick_deaths=0,
            retry_at=None,
        )
    if is_split and newest.number not in named:
        Revision.objects.filter(pk=newest.pk).update(weight=0)
    words = None if shares is None else {str(number): share for number, share in shares.items()}
    announce(service, by, "service.share_traffic", shares=words)


@transaction.atomic
def set_shadow(*, service: Service, by: User | None, number: int | None) -> None:
    """Send copies of the requests to one revision, or to none; it never answers anybody."""
    revisions = _locked(service)
    if number is not None:
        _revision(revisions, number, "shadow")
        if number in answering(service) | {current_revision(service).number}:
            words = f"Revision {number} answers requests, so it cannot be a shadow as well."
            raise Invalid.of(FieldError("shadow", words))
    end_shadows(service, but=number or 0)
    if number is not None:
        Revision.objects.filter(service=service, number=number).update(
            is_shadow=True, weight=None, failure="", quick_deaths=0, retry_at=None
        )
    announce(service, by, "service.set_shadow", revision=number)


def roll_back(*, service: Service, by: User | None, number: int | None = None) -> Revision:
    """Have a service serve again what an earlier revision did; give the revision that does.

    One that shares the requests now takes them all at once; another is deployed anew, as a rollout.
    """
    with transaction.atomic():
        revisions = _locked(service)
        current = current_revision(service)
        earlier = _earlier(revisions, current, number)
        if earlier.weight:
            share_traffic(service=service, by=by, shares={earlier.number: ALL})
            made = earlier
        else:
            made = add_revision(
                service,
                by,
                earlier.model_version,
                Resources(**earlier.resources),
                max(current.replica_count, 1),
            )
        announce(
            service,
            by,
            "service.roll_back",
            since=current.number,
            back_to=earlier.number,
            model=str(earlier.model_version),
        )
    return made


def _earlier(revisions: list[Revision], current: Revision, number: int | None) -> Revision:
    if number is not None:
        found = _revision(revisions, number, "revision")
        if found.pk == current.pk and not found.failure:
            words = f"Revision {number} is the one that is served."
            raise Invalid.of(FieldError("revision", words))
        return found
    for one in revisions:
        is_other = (one.model_version_id, one.resources) != (
            current.model_version_id,
            current.resources,
        )
        if one.number < current.number and one.proven_at and not one.failure and is_other:
            return one
    words = "No earlier revision of this service has ever served, so there is none to go back to."
    raise Invalid.of(FieldError("revision", words))


def _locked(service: Service) -> list[Revision]:
    """Give a service's revisions, the newest first, while nobody else changes them."""
    Service.objects.select_for_update().get(pk=service.pk)
    return list(revisions_of(service))


def _revision(revisions: list[Revision], number: int, field: str) -> Revision:
    for one in revisions:
        if one.number == number:
            return one
    words = f"There is no revision {number}; the newest is {revisions[0].number}."
    raise Invalid.of(FieldError(field, words))


def _check_shares(revisions: list[Revision], shares: Mapping[int, int]) -> None:
    for number in shares:
        _revision(revisions, number, f"traffic.{number}")
    total = sum(shares.values())
    if total != ALL:
        words = f"The percentages should sum to {ALL}; they sum to {total}."
        raise Invalid.of(FieldError("traffic", words))
