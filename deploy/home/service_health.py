"""The services that a team's home shows: those with errors, and those that are not Healthy."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Sum

from deploy.models import Service, ServiceState, Traffic
from deploy.selectors import services_of
from workspace.models import Team

MAX_SERVICES = 6
ERROR_WINDOW = timedelta(hours=1)


@dataclass(frozen=True)
class ServiceHealth:
    """A service, why it is not Healthy, and its requests of the last hour."""

    service: Service
    reason: str
    requests: int
    errors: int


@dataclass(frozen=True)
class ServicesNow:
    """The services with trouble that are shown, how many have it, and how many there are."""

    troubled: list[ServiceHealth]
    troubled_count: int
    count: int


def services_now(team: Team, now: datetime) -> ServicesNow:
    """Return how a team's services are; one that people stopped has no trouble."""
    traffic = {
        row["revision__service"]: row
        for row in Traffic.objects.filter(
            revision__service__team=team,
            revision__service__deleted_at=None,
            at__gte=now - ERROR_WINDOW,
        )
        .values("revision__service")
        .annotate(requests=Sum("requests"), errors=Sum("errors"))
    }
    services = list(services_of(team))
    found = [
        ServiceHealth(
            service,
            service.state_reason.partition("\n")[0],
            requests=traffic.get(service.pk, {}).get("requests", 0),
            errors=traffic.get(service.pk, {}).get("errors", 0),
        )
        for service in services
    ]
    troubled = [one for one in found if one.errors or _is_unwell(one.service)]
    return ServicesNow(troubled[:MAX_SERVICES], len(troubled), len(services))


def _is_unwell(service: Service) -> bool:
    return service.is_wanted and service.state != ServiceState.HEALTHY
