"""Reads of services that need more than one line."""

from itertools import count
from typing import Any, cast

from django.conf import settings
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from deploy.models import LoggedRequest, Replica, ReplicaState, Revision, Service
from models.models import RegisteredModel
from workspace.models import Team
from workspace.platform.errors import FieldError, Invalid, NotFound
from workspace.platform.requests import is_whole_number

REQUESTS_ON_A_PAGE = 50
LEAST_NAME = 3
MOST_OF_NAME = 26  # of 32, so that a number fits behind it


def services_of(team: Team) -> QuerySet[Service]:
    return (
        Service.objects.filter(team=team, deleted_at=None)
        .select_related("team", "target", "created_by")
        .order_by("name")
    )


def service_of(team: Team, name: str) -> Service:
    service = services_of(team).filter(name=name.replace("\0", "?")).first()
    if service is None:
        raise NotFound(f"{team.name} has no service {name!r}.")
    return service


def revisions_of(service: Service) -> QuerySet[Revision]:
    """Return a service's revisions, the current one first."""
    return (
        Revision.objects.filter(service=service)
        .select_related("service", "model_version__model__team", "environment", "created_by")
        .order_by("-number")
    )


def counted(revisions: QuerySet[Revision]) -> Any:
    """Have revisions say how many of their replicas are `ready`."""
    ready = Replica.objects.filter(revision=OuterRef("pk"), ended_at=None, state=ReplicaState.READY)
    number = ready.order_by().values("revision").annotate(number=Count("pk")).values("number")
    return revisions.annotate(ready=Coalesce(Subquery(number), 0))


def with_current_revisions(services: QuerySet[Service], most: int | None = None) -> list[Service]:
    """Return the first of some services; `current_revision` knows theirs without asking again."""
    of_service = Revision.objects.filter(service=OuterRef("pk")).order_by("-number")
    asked = of_service.filter(is_shadow=False).exclude(weight=0)
    newest_first = [Subquery(revisions.values("pk")[:1]) for revisions in (asked, of_service)]
    found: list[Any] = list(services.annotate(current=Coalesce(*newest_first))[:most])
    keys = [service.current for service in found]
    revisions = Revision.objects.select_related("model_version__model").in_bulk(keys)
    for service, key in zip(found, keys, strict=True):
        service.known_revision = revisions.get(key)
    return found


def current_revision(service: Service) -> Revision:
    """Return what people asked a service for last: its newest revision that is to be asked."""
    if known := getattr(service, "known_revision", None):
        return cast(Revision, known)
    revisions = revisions_of(service)
    revision = revisions.filter(is_shadow=False).exclude(weight=0).first() or revisions.first()
    if revision is None:
        raise NotFound(f"Service {service} has no revision.")
    return revision


def replicas_of(service: Service) -> QuerySet[Replica]:
    """Return a service's replicas, the newest first."""
    return replicas_with_models(Replica.objects.filter(revision__service=service))


def replicas_with_models(replicas: QuerySet[Replica]) -> QuerySet[Replica]:
    return replicas.select_related(
        "revision__model_version__model", "revision__service", "group"
    ).order_by("-number")


def living_replicas(service: Service) -> QuerySet[Replica]:
    return replicas_of(service).filter(ended_at=None)


def requests_after(service: Service, cursor: str) -> tuple[list[LoggedRequest], str]:
    """Return kept requests, the newest first, and the cursor of the page after these."""
    requests = (
        LoggedRequest.objects.filter(service=service).select_related("revision").order_by("-pk")
    )
    if cursor:
        if not is_whole_number(cursor, max_digits=18):
            raise Invalid.of(FieldError("cursor", "Use the cursor of the previous page."))
        requests = requests.filter(pk__lt=int(cursor))
    found = list(requests[: REQUESTS_ON_A_PAGE + 1])
    page = found[:REQUESTS_ON_A_PAGE]
    return page, str(page[-1].pk) if len(found) > len(page) else ""


def scoring_uri(service: Service) -> str:
    return (
        f"{settings.TRAINYARD_URL}/api/v1/teams/{service.team.slug}/services/{service.name}/score"
    )


def serving_uri(service: Service) -> str:
    """Return the address below which the service speaks TensorFlow Serving's own paths."""
    return f"{settings.TRAINYARD_URL}/serve/{service.team.slug}/{service.name}"


def services_of_model(model: RegisteredModel) -> list[Service]:
    """Return the services whose current revision serves some version of a model."""
    newest = Revision.objects.filter(service=OuterRef("pk")).order_by("-number")
    serving = services_of(model.team).annotate(
        serves=Subquery(newest.values("model_version__model")[:1])
    )
    return with_current_revisions(serving.filter(serves=model.pk))


def free_name(team: Team, model: RegisteredModel) -> str:
    """Suggest a name for a service of a model that no other service of the team has."""
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in model.name.lower())
    stem = letters.strip("-0123456789")[:MOST_OF_NAME].strip("-")
    stem = stem if len(stem) >= LEAST_NAME else f"model-{stem}".strip("-")
    taken = set(services_of(team).values_list("name", flat=True))
    names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
    return next(name for name in names if name not in taken)
