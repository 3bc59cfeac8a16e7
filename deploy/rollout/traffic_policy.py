"""The verbs that steer requests: weights, shadows, the way back, and how a service is scaled."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from deploy.config import ServiceChange, ServiceResources
from deploy.events import record_change
from deploy.models import Revision, Service
from deploy.rollout.plan import ALL_TRAFFIC, scale_weights
from deploy.rollout.revisions import end_shadows, rollout_plan, serving_revision_numbers
from deploy.selectors import current_revision, revisions_of
from deploy.services import (
    add_revision,
    check_isolation,
    check_memory,
    check_operations,
    check_target,
)
from models.models import ModelVersion
from workspace.platform.errors import FieldError, Invalid


@transaction.atomic
def apply_change(
    *, service: Service, by: User | None, change: ServiceChange, version: ModelVersion | None
) -> None:
    """Make every change of a service, or none."""
    set_options(service=service, by=by, options=change.stored())
    if change.makes_revision or change.replicas is not None:
        update(
            service=service,
            by=by,
            version=version,
            resources=change.resources,
            replicas=change.replicas,
            weight=change.weight,
            is_shadow=change.is_shadow,
        )
    if "traffic" in change.model_fields_set:
        split_traffic(service=service, by=by, weights=change.weights)
    if "shadow" in change.model_fields_set and not change.is_shadow:
        set_shadow(service=service, by=by, number=change.shadow_number)


def update(
    *,
    service: Service,
    by: User | None,
    version: ModelVersion | None = None,
    resources: ServiceResources | None = None,
    replicas: int | None = None,
    weight: int | None = None,
    is_shadow: bool = False,
) -> None:
    """Change what a service serves or how much of it there is.

    Another model version or other resources make a new revision, which takes over once it is
    verified: or a percentage of the requests, or copies of them as a shadow. A number of replicas
    alone changes the current revision.
    """
    current = current_revision(service)
    next_version = version or current.model_version
    next_resources = resources or ServiceResources(**current.resources)
    count = replicas or max(current.replica_count, 1)
    if version or resources:
        check_memory(next_version, next_resources)
        check_operations(next_version, service.target, next_resources)
    check_target(service.target, service.team, by, next_resources, count)
    if next_version.pk != current.model_version_id:
        check_isolation(next_version, service.target)
    if service.autoscale and replicas not in (None, current.replica_count):
        words = "The number of replicas follows the requests; change autoscale, or turn it off."
        raise Invalid.of(FieldError("replicas", words))
    keeps_serving_revision = weight is not None or is_shadow
    with transaction.atomic():
        is_same = (
            next_version.pk == current.model_version_id
            and next_resources.to_json() == current.resources
        )
        if is_same and not keeps_serving_revision:
            count = replicas or current.replica_count
            Revision.objects.filter(pk=current.pk).update(
                replica_count=count, consecutive_crashes=0, retry_at=None, failure=""
            )
        else:
            if weight is not None:
                _make_room_for_weight(service, weight)
            if is_shadow:
                end_shadows(service)
            made = add_revision(service, by, next_version, next_resources, count)
            Revision.objects.filter(pk=made.pk).update(weight=weight, is_shadow=is_shadow)
        said = {"weight": weight, "is_shadow": is_shadow} if keeps_serving_revision else {}
        record_change(
            service, by, "service.update", model=str(next_version), replicas=count, **said
        )


@transaction.atomic
def set_options(*, service: Service, by: User | None, options: Mapping[str, Any]) -> None:
    """Change how a service is scaled, tried, shared among callers, or gone back from."""
    if not options:
        return
    Service.objects.filter(pk=service.pk).update(**options)
    if options.get("autoscale") == {}:
        # Without the rule that let it sleep, a service has to be awake.
        Revision.objects.filter(service=service, replica_count=0).update(replica_count=1)
    said = {name: value for name, value in options.items() if name != "smoke_test_request"}
    record_change(service, by, "service.set_options", fields=sorted(options), **said)


@transaction.atomic
def split_traffic(*, service: Service, by: User | None, weights: Mapping[int, int] | None) -> None:
    """Share the requests between revisions, by number; None gives all to the newest one again.

    Revisions that are not named, or have 0, are stopped.
    """
    revisions = _locked(service)
    if weights is not None:
        _check_weights(revisions, weights)
    named = weights or {}
    newest = next(one for one in revisions if not one.is_shadow or one.number in named)
    Revision.objects.filter(service=service).update(weight=None)
    is_split = weights is not None and weights.get(newest.number) != ALL_TRAFFIC
    for number, percentage in named.items():
        Revision.objects.filter(service=service, number=number).update(
            weight=percentage if is_split else None,
            is_shadow=False,
            failure="",
            consecutive_crashes=0,
            retry_at=None,
        )
    if is_split and newest.number not in named:
        Revision.objects.filter(pk=newest.pk).update(weight=0)
    words = None if weights is None else {str(number): share for number, share in weights.items()}
    record_change(service, by, "service.split_traffic", weights=words)


@transaction.atomic
def set_shadow(*, service: Service, by: User | None, number: int | None) -> None:
    """Send copies of the requests to one revision, or to none; it never answers anybody."""
    revisions = _locked(service)
    if number is not None:
        _revision(revisions, number, "shadow")
        if number in serving_revision_numbers(service) | {current_revision(service).number}:
            words = f"Revision {number} receives traffic, so it cannot be a shadow as well."
            raise Invalid.of(FieldError("shadow", words))
    end_shadows(service, but=number or 0)
    if number is not None:
        Revision.objects.filter(service=service, number=number).update(
            is_shadow=True, weight=None, failure="", consecutive_crashes=0, retry_at=None
        )
    record_change(service, by, "service.set_shadow", revision=number)


def roll_back(*, service: Service, by: User | None, number: int | None = None) -> Revision:
    """Have a service serve again what an earlier revision did; return the revision that does.

    One that shares the requests now takes them all at once; another is deployed anew, as a rollout.
    """
    with transaction.atomic():
        revisions = _locked(service)
        current = current_revision(service)
        earlier = _earlier(revisions, current, number)
        if earlier.weight:
            split_traffic(service=service, by=by, weights={earlier.number: ALL_TRAFFIC})
            made = earlier
        else:
            made = add_revision(
                service,
                by,
                earlier.model_version,
                ServiceResources(**earlier.resources),
                max(current.replica_count, 1),
            )
        record_change(
            service,
            by,
            "service.roll_back",
            since=current.number,
            back_to=earlier.number,
            model=str(earlier.model_version),
        )
    return made


def _make_room_for_weight(service: Service, weight: int) -> None:
    """Have the revisions that serve now share what a new one leaves them."""
    plan = rollout_plan(service)
    serving = [one for one in plan.asked if one.is_servable]
    if not serving:
        words = "No revision serves yet that could receive the rest: leave out the weight."
        raise Invalid.of(FieldError("weight", words))
    left = scale_weights(
        {one.pk: one.weight or ALL_TRAFFIC for one in serving}, ALL_TRAFFIC - weight
    )
    for pk, share in left.items():
        Revision.objects.filter(pk=pk).update(weight=share)


def _earlier(revisions: list[Revision], current: Revision, number: int | None) -> Revision:
    if number is not None:
        found = _revision(revisions, number, "revision")
        if found.pk == current.pk and not found.failure:
            words = f"Revision {number} is already the current one."
            raise Invalid.of(FieldError("revision", words))
        return found
    for one in revisions:
        is_other = (one.model_version_id, one.resources) != (
            current.model_version_id,
            current.resources,
        )
        if one.number < current.number and one.verified_at and not one.failure and is_other:
            return one
    words = "No earlier revision of this service has ever served, so there is none to roll back to."
    raise Invalid.of(FieldError("revision", words))


def _locked(service: Service) -> list[Revision]:
    """Return a service's revisions, the newest first, while nobody else changes them."""
    Service.objects.select_for_update().get(pk=service.pk)
    return list(revisions_of(service))


def _revision(revisions: list[Revision], number: int, field: str) -> Revision:
    for one in revisions:
        if one.number == number:
            return one
    words = f"There is no revision {number}; the newest is {revisions[0].number}."
    raise Invalid.of(FieldError(field, words))


def _check_weights(revisions: list[Revision], weights: Mapping[int, int]) -> None:
    for number in weights:
        _revision(revisions, number, f"traffic.{number}")
    total = sum(weights.values())
    if total != ALL_TRAFFIC:
        words = f"The percentages should sum to {ALL_TRAFFIC}; they sum to {total}."
        raise Invalid.of(FieldError("traffic", words))
