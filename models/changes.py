"""What may change of a registered version: its stage, words, tags and aliases, or that it is there.

Its files, signatures and properties never do.
"""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, OuterRef, Q, Subquery
from django.utils import timezone

from models.models import ModelAlias, ModelVersion, RegisteredModel, Stage
from models.registration import VersionChange, check_alias
from models.selectors import existing_versions
from workspace.audit import audit
from workspace.platform.errors import Conflict
from workspace.tags import changed_tags


@transaction.atomic
def change_version(*, version: ModelVersion, by: User | None, change: VersionChange) -> None:
    """Change a version; several who change different tags at once all succeed."""
    locked = ModelVersion.objects.select_for_update(of=("self",)).get(pk=version.pk)
    changes: dict[str, object] = {}
    if change.description is not None:
        changes["description"] = change.description
    if change.tags is not None:
        changes["tags"] = changed_tags(locked.tags, change.tags)
    if change.stage is not None:
        changes["stage"] = change.stage
    for field, value in changes.items():
        setattr(version, field, value)
    version.save(update_fields=list(changes))
    archived = []
    if change.stage is not None and change.archive_others:
        archived = _archive_others(version, change.stage)
    audit(
        team=version.model.team,
        actor=by,
        action="model.change",
        subject=str(version),
        **changes,
        **({"archived": archived} if archived else {}),
    )


def _archive_others(version: ModelVersion, stage: str) -> list[str]:
    """Archive the other versions of a stage; none and archived are stages that many may have."""
    if stage in (Stage.NONE, Stage.ARCHIVED):
        return []
    others = existing_versions().filter(model=version.model, stage=stage).exclude(pk=version.pk)
    names = [str(other) for other in others]
    others.update(stage=Stage.ARCHIVED)
    return names


@transaction.atomic
def set_alias(*, version: ModelVersion, by: User | None, name: str) -> bool:
    """Have an alias stand for a version from now on; return whether it is a new one."""
    alias, is_new = ModelAlias.objects.update_or_create(
        model=version.model, name=check_alias(name), defaults={"version": version}
    )
    audit(
        team=version.model.team,
        actor=by,
        action="model.set_alias",
        subject=str(alias),
        version=version.version,
    )
    return is_new


@transaction.atomic
def remove_alias(*, alias: ModelAlias, by: User | None) -> None:
    audit(
        team=alias.model.team,
        actor=by,
        action="model.remove_alias",
        subject=str(alias),
        version=alias.version.version,
    )
    alias.delete()


@transaction.atomic
def delete_version(*, version: ModelVersion, by: User | None) -> None:
    """Delete a version for good; its number is never used again. Raises Conflict while it serves.

    Its files are swept away within two days, where no other version has them.
    """
    _delete([version])
    audit(team=version.model.team, actor=by, action="model.delete", subject=str(version))


@transaction.atomic
def delete_model(*, model: RegisteredModel, by: User | None) -> None:
    """Delete every version of a model, or none of them."""
    versions = list(existing_versions().filter(model=model))
    _delete(versions)
    audit(
        team=model.team,
        actor=by,
        action="model.delete",
        subject=model.name,
        versions=[version.version for version in versions],
    )


def _delete(versions: Iterable[ModelVersion]) -> None:
    versions = list(versions)
    # Held until commit, as whoever deploys one holds it too.
    ids = [version.pk for version in versions]
    list(ModelVersion.objects.select_for_update(of=("self",)).filter(pk__in=ids))
    for version in versions:
        users = services_using(version)
        if users:
            raise Conflict(
                f"{version} cannot be deleted: {_listed(users)} of it. Delete"
                f" {'the service' if len(users) == 1 else 'the services'}, or switch to another"
                " version first."
            )
    ModelAlias.objects.filter(version__in=ids).delete()
    ModelVersion.objects.filter(pk__in=ids).update(deleted_at=timezone.now())


def services_using(version: ModelVersion) -> list[str]:
    """Name the services that answer with a version, are to, or still have replicas of it."""
    revisions = version.revisions.filter(service__deleted_at=None)
    newest = revisions.model.objects.filter(service=OuterRef("service")).order_by("-number")
    using = revisions.annotate(newest=Subquery(newest.values("pk")[:1])).filter(
        Q(newest=F("pk"))
        | Q(weight__gt=0)
        | Q(is_shadow=True)
        | Q(replicas__isnull=False, replicas__ended_at=None)
    )
    return sorted(set(using.values_list("service__name", flat=True)))


def _listed(services: list[str]) -> str:
    if len(services) == 1:
        return f"the service {services[0]} makes use"
    return f"the services {', '.join(services)} make use"
