"""Reads of services that need more than one line."""

from django.conf import settings
from django.db.models import QuerySet

from deploy.models import Replica, ReplicaState, Revision, Service
from workspace.errors import NotFound
from workspace.models import Team


def services_of(team: Team) -> QuerySet[Service]:
    return (
        Service.objects.filter(team=team, deleted_at=None)
        .select_related("team", "target", "created_by")
        .order_by("name")
    )


def service_of(team: Team, name: str) -> Service:
    service = services_of(team).filter(name=name).first()
    if service is None:
        raise NotFound(f"{team.name} has no service {name!r}.")
    return service


def revisions_of(service: Service) -> QuerySet[Revision]:
    """Give a service's revisions, the current one first."""
    return (
        Revision.objects.filter(service=service)
        .select_related("service", "model_version__model__team", "environment", "created_by")
        .order_by("-number")
    )


def current_revision(service: Service) -> Revision:
    revision = revisions_of(service).first()
    if revision is None:
        raise NotFound(f"Service {service} has no revision.")
    return revision


def replicas_of(service: Service) -> QuerySet[Replica]:
    """Give a service's replicas, the newest first."""
    return (
        Replica.objects.filter(revision__service=service)
        .select_related("revision__model_version__model", "group")
        .order_by("-number")
    )


def living_replicas(service: Service) -> QuerySet[Replica]:
    return replicas_of(service).exclude(state=ReplicaState.ENDED)


def scoring_uri(service: Service) -> str:
    return (
        f"{settings.TRAINYARD_URL}/api/v1/teams/{service.team.slug}/services/{service.name}/score"
    )


def serving_uri(service: Service) -> str:
    """Give the address below which the service speaks TensorFlow Serving's own paths."""
    return f"{settings.TRAINYARD_URL}/serve/{service.team.slug}/{service.name}"
