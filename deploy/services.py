"""The verbs of serving. The supervisor brings about what is written here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from deploy import memory_requirements
from deploy.config import ServiceResources, default_resources
from deploy.events import record_change
from deploy.framework_versions import has_image, release_notice
from deploy.models import KeySlot, Revision, Service, ServiceKey, ServiceState
from deploy.selectors import current_revision
from models.models import ModelVersion
from models.savedmodel.scan import is_confined, library_ops
from models.selectors import scan_of
from runs.scheduling.capacity import shortages
from runs.scheduling.resources import Resources
from workspace.accounts.tokens import SecretKind, new_secret
from workspace.compute.abilities import BuildsImages
from workspace.models import ComputeTarget, Team
from workspace.platform.errors import Conflict, FieldError, Invalid
from workspace.targets.backends import backend_for
from workspace.targets.selectors import use_problem


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
    resources: ServiceResources | None = None,
    replicas: int = 1,
    options: Mapping[str, Any] | None = None,
) -> Deployment:
    """Create a service for a model version; `options` are columns, as `ServiceOptions.stored`."""
    wanted = resources or default_resources(version)
    check_memory(version, wanted)
    check_target(target, team, by, wanted, replicas)
    check_operations(version, target, wanted)
    check_isolation(version, target)
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
                **(options or {}),
            )
            add_revision(service, by, version, wanted, replicas)
            keys = {slot: _replace_key(service, slot) for slot in KeySlot}
            record_change(service, by, "service.deploy", model=str(version), replicas=replicas)
    except IntegrityError:
        raise Conflict(taken.message, errors=[taken]) from None
    return Deployment(service, keys)


@transaction.atomic
def start(*, service: Service, by: User | None) -> None:
    """Have a service run, and try again one that failed."""
    Service.objects.filter(pk=service.pk).update(
        is_wanted=True,
        state=ServiceState.TRANSITIONING,
        state_reason="Waiting to start.",
    )
    Revision.objects.filter(pk=current_revision(service).pk).update(
        consecutive_crashes=0, retry_at=None, failure=""
    )
    record_change(service, by, "service.start")


@transaction.atomic
def stop(*, service: Service, by: User | None) -> None:
    """End a service's replicas; its name, keys and revisions stay."""
    Service.objects.filter(pk=service.pk).update(is_wanted=False)
    record_change(service, by, "service.stop")


@transaction.atomic
def delete(*, service: Service, by: User | None) -> None:
    """End a service for good; its name is free again."""
    Service.objects.filter(pk=service.pk, deleted_at=None).update(
        is_wanted=False, deleted_at=timezone.now()
    )
    service.keys.all().delete()
    record_change(service, by, "service.delete")


@transaction.atomic
def regenerate_key(*, service: Service, by: User | None, slot: KeySlot) -> str:
    """Replace a key; the old one is refused from now on. The new one is given here only."""
    secret = _replace_key(service, slot)
    record_change(service, by, "service.regenerate_key", slot=slot)
    return secret


def add_revision(
    service: Service,
    by: User | None,
    version: ModelVersion,
    resources: ServiceResources,
    replicas: int,
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
        notice=_notice(service, version, resources),
        created_by=by,
    )


def _notice(service: Service, version: ModelVersion, resources: ServiceResources) -> str:
    """Say what people should know of a new revision before it runs."""
    memory = memory_requirements.memory_warning(version, resources.memory_gb)
    has_own_server = not has_image(version, service.target, gpu=bool(resources.gpu))
    return f"{memory} {release_notice(version) if has_own_server else ''}".strip()


def _replace_key(service: Service, slot: KeySlot) -> str:
    secret, digest, prefix = new_secret(SecretKind.SERVICE_KEY)
    ServiceKey.objects.update_or_create(
        service=service,
        slot=slot,
        defaults={"digest": digest, "prefix": prefix, "created_at": timezone.now()},
    )
    return secret


def check_memory(version: ModelVersion, resources: ServiceResources) -> None:
    problem = memory_requirements.memory_refusal(version, resources.memory_gb)
    if problem:
        raise Invalid.of(FieldError("resources.memory_gb", problem))


def check_operations(
    version: ModelVersion, target: ComputeTarget, resources: ServiceResources
) -> None:
    """Refuse a model whose operations only TensorFlow Serving has where our own server serves."""
    missing = library_ops(scan_of(version))
    if missing and not has_image(version, target, gpu=bool(resources.gpu)):
        remedy = (
            f"Target {target.name} serves with that server, which cannot load {version}. Use a"
            " target with containers, where TensorFlow Serving's image serves, or do that step"
            " before the request and export the model without these operations."
        )
        raise Invalid.of(FieldError("target", f"{missing} {remedy}"))


def check_isolation(version: ModelVersion, target: ComputeTarget) -> None:
    """Refuse a model that reaches beyond itself where no container holds it."""
    if not holds_any_model(target) and not is_confined(scan_of(version)):
        raise Invalid.of(FieldError("target", isolation_problem(version, target)))


def holds_any_model(target: ComputeTarget) -> bool:
    """Return whether a target may serve a model that reaches beyond itself."""
    return settings.TRAINYARD_ALLOW_UNCONFINED_MODELS or isinstance(
        backend_for(target), BuildsImages
    )


def isolation_problem(version: ModelVersion, target: ComputeTarget) -> str:
    return (
        f"{version} has operations that may read files or reach others, as its scan tells,"
        f" and target {target.name} has no containers. Use a target with containers, or ask"
        " the admin of this installation to set TRAINYARD_ALLOW_UNCONFINED_MODELS=1."
    )


def check_target(
    target: ComputeTarget, team: Team, by: User | None, resources: ServiceResources, replicas: int
) -> None:
    """Refuse what the target could never run, with the numbers."""
    errors = []
    problem = use_problem(target, team, by)
    if problem:
        errors.append(FieldError("target", problem))
    if target.is_paused:
        errors.append(FieldError("target", f"Target {target.name} is paused by an admin."))
    need = Resources(resources.cpu or 0.0, resources.memory_bytes or 0, resources.gpu or 0, 1)
    errors += [
        FieldError("resources", words)
        for _, words in shortages(target, [need] * replicas, "replica", "s")
    ]
    if errors:
        raise Invalid.of(*errors)
