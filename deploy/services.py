"""The verbs of serving. The supervisor brings about what is written here."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from deploy import memory
from deploy.configuration import Resources, curated_version, default_resources
from deploy.models import KeySlot, Revision, Service, ServiceKey, ServiceState
from deploy.revisions import end_shadows, plan_of_service
from deploy.rollout import ALL, scaled
from deploy.routes import forget_route
from deploy.selectors import current_revision
from models.models import ModelVersion
from runs.capacity import cannot_hold
from runs.events import group_of_service, nudge_on_commit
from runs.queue_terms import Share
from workspace import bell
from workspace.errors import Conflict, FieldError, Invalid
from workspace.models import ComputeTarget, Team
from workspace.selectors import use_problem
from workspace.services import audit
from workspace.tokens import SecretKind, new_secret


@dataclass(frozen=True)
class Deployment:
    """A new service and its keys, which are given here and never again."""

    service: Service
    keys: dict[KeySlot, str]


def deploy(
    *,
    team: Team,
    by: User | None,
    name: str,
    version: ModelVersion,
    target: ComputeTarget,
    resources: Resources | None = None,
    replicas: int = 1,
    terms: Mapping[str, Any] | None = None,
) -> Deployment:
    """Make a service that serves a model version; `terms` are fields as terms.read_terms gives."""
    curated_version(version)
    wanted = resources or default_resources(version)
    _check_memory(version, wanted)
    _check_target(target, team, by, wanted, replicas)
    taken = FieldError("name", f"{team.name} already has a service {name!r}.")
    if Service.objects.filter(team=team, name=name, deleted_at=None).exists():
        raise Conflict(taken.message, errors=[taken])
    try:
        with transaction.atomic():
            service = Service.objects.create(
                team=team,
                name=name,
                target=target,
                created_by=by,
                state_reason="Waiting to start.",
                **(terms or {}),
            )
            add_revision(service, by, version, wanted, replicas)
            keys = {slot: _replace_key(service, slot) for slot in KeySlot}
            announce(service, by, "service.deploy", model=str(version), replicas=replicas)
    except IntegrityError:
        raise Conflict(taken.message, errors=[taken]) from None
    return Deployment(service, keys)


def update(
    *,
    service: Service,
    by: User | None,
    version: ModelVersion | None = None,
    resources: Resources | None = None,
    replicas: int | None = None,
    weight: int | None = None,
    is_shadow: bool = False,
) -> None:
    """Change what a service serves or how much of it there is.

    Another model version or other resources make a new revision, which takes over once it is
    proven: or a percentage of the requests, or copies of them as a shadow. A number of replicas
    alone changes the current revision.
    """
    current = current_revision(service)
    next_version = version or current.model_version
    next_resources = resources or Resources(**current.resources)
    count = replicas or max(current.replica_count, 1)
    curated_version(next_version)
    if version or resources:
        _check_memory(next_version, next_resources)
    _check_target(service.target, service.team, by, next_resources, count)
    if service.autoscale and replicas not in (None, current.replica_count):
        words = "The number of replicas follows the requests; change autoscale, or turn it off."
        raise Invalid.of(FieldError("replicas", words))
    is_beside = weight is not None or is_shadow
    with transaction.atomic():
        is_same = (
            next_version.pk == current.model_version_id
            and next_resources.to_json() == current.resources
        )
        if is_same and not is_beside:
            count = replicas or current.replica_count
            Revision.objects.filter(pk=current.pk).update(
                replica_count=count, quick_deaths=0, retry_at=None, failure=""
            )
        else:
            if weight is not None:
                _make_room(service, weight)
            if is_shadow:
                end_shadows(service)
            made = add_revision(service, by, next_version, next_resources, count)
            Revision.objects.filter(pk=made.pk).update(weight=weight, is_shadow=is_shadow)
        said = {"weight": weight, "is_shadow": is_shadow} if is_beside else {}
        announce(service, by, "service.update", model=str(next_version), replicas=count, **said)


@transaction.atomic
def start(*, service: Service, by: User | None) -> None:
    """Have a service run, and try again one that failed."""
    Service.objects.filter(pk=service.pk).update(
        is_wanted=True,
        state=ServiceState.TRANSITIONING,
        state_reason="Waiting to start.",
    )
    Revision.objects.filter(pk=current_revision(service).pk).update(
        quick_deaths=0, retry_at=None, failure=""
    )
    announce(service, by, "service.start")


@transaction.atomic
def stop(*, service: Service, by: User | None) -> None:
    """End a service's replicas; its name, keys and revisions stay."""
    Service.objects.filter(pk=service.pk).update(is_wanted=False)
    announce(service, by, "service.stop")


@transaction.atomic
def delete(*, service: Service, by: User | None) -> None:
    """End a service for good; its name is free again."""
    Service.objects.filter(pk=service.pk, deleted_at=None).update(
        is_wanted=False, deleted_at=timezone.now()
    )
    service.keys.all().delete()
    announce(service, by, "service.delete")


@transaction.atomic
def regenerate_key(*, service: Service, by: User | None, slot: KeySlot) -> str:
    """Replace a key; the old one is refused from now on. The new one is given here only."""
    secret = _replace_key(service, slot)
    announce(service, by, "service.regenerate_key", slot=slot)
    return secret


def add_revision(
    service: Service, by: User | None, version: ModelVersion, resources: Resources, replicas: int
) -> Revision:
    # Locked, so that two who update at once get numbers one after the other.
    Service.objects.select_for_update().get(pk=service.pk)
    living = ModelVersion.objects.select_for_update().filter(pk=version.pk, deleted_at=None)
    if not living.exists():
        raise Invalid.of(FieldError("model", f"{version} was deleted. Choose another version."))
    newest = service.revisions.order_by("-number").first()
    return Revision.objects.create(
        service=service,
        number=newest.number + 1 if newest else 1,
        model_version=version,
        resources=resources.to_json(),
        replica_count=replicas,
        notice=memory.doubt(version, resources.memory_gb),
        created_by=by,
    )


def _make_room(service: Service, weight: int) -> None:
    """Have the revisions that serve now share what a new one leaves them."""
    plan = plan_of_service(service)
    serving = [one for one in plan.asked if one.is_good]
    if not serving:
        words = "No revision serves yet that could take the rest: leave out the weight."
        raise Invalid.of(FieldError("weight", words))
    left = scaled({one.pk: one.weight or ALL for one in serving}, ALL - weight)
    for pk, share in left.items():
        Revision.objects.filter(pk=pk).update(weight=share)


def _replace_key(service: Service, slot: KeySlot) -> str:
    secret, digest, prefix = new_secret(SecretKind.SERVICE_KEY)
    ServiceKey.objects.update_or_create(
        service=service,
        slot=slot,
        defaults={"digest": digest, "prefix": prefix, "created_at": timezone.now()},
    )
    return secret


def _check_memory(version: ModelVersion, resources: Resources) -> None:
    problem = memory.refusal(version, resources.memory_gb)
    if problem:
        raise Invalid.of(FieldError("resources.memory_gb", problem))


def _check_target(
    target: ComputeTarget, team: Team, by: User | None, resources: Resources, replicas: int
) -> None:
    """Refuse what the target could never run, with the numbers."""
    errors = []
    problem = use_problem(target, team, by)
    if problem:
        errors.append(FieldError("target", problem))
    if target.is_paused:
        errors.append(FieldError("target", f"Target {target.name} is paused by an admin."))
    need = Share(resources.cpu or 0.0, resources.memory_bytes or 0, resources.gpu or 0, 1)
    errors += [
        FieldError("resources", words)
        for _, words in cannot_hold(target, [need] * replicas, "replica", "s")
    ]
    if errors:
        raise Invalid.of(*errors)


def announce(service: Service, by: User | None, action: str, **data: object) -> None:
    audit(team=service.team, actor=by, action=action, subject=service.name, **data)
    nudge_on_commit(group_of_service(service.pk), "event")
    transaction.on_commit(partial(forget_route, service.team.slug, service.name))
    transaction.on_commit(bell.ring)
