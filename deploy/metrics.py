"""What Prometheus asks the web process: the gateway and every service behind it."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from django.conf import settings
from django.db.models import Count, Q
from django.http.request import split_domain_port

from deploy.credentials import Headers, credentials_of
from deploy.errors import GatewayError
from deploy.exchanges import Send
from deploy.latencies import BOUNDS
from deploy.models import ReplicaState, Service
from deploy.traffic import Tally
from workspace.models import Scope
from workspace.tokens import note_use, usable_token

if TYPE_CHECKING:
    from prometheus_client import Metric

    from deploy.gateway import Gateway

PATH = "/metrics"
FORWARDED = {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"}
OF_REVISION = ["team", "service", "revision"]


async def text_of_metrics(gateway: "Gateway") -> tuple[bytes, bytes]:
    """Give the metrics and their content type."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    replicas = await _replicas()

    class Collector:
        def collect(self) -> Iterator["Metric"]:
            tallies = gateway.books.tallies
            yield _refusals(gateway.refused)
            yield from _traffic([*tallies.by_revision.values(), *tallies.unanswered.values()])
            yield _replicas_ready(replicas)

    registry = CollectorRegistry()
    registry.register(Collector())
    return generate_latest(registry), CONTENT_TYPE_LATEST.encode()


def _refusals(refused: dict[int, int]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(
        "trainyard_gateway_refused", "Requests that were not let in, by status.", labels=["code"]
    )
    for code, count in refused.items():
        family.add_metric([str(code)], count)
    return family


def _traffic(tallies: Iterable[Tally]) -> Iterator["Metric"]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    requests = CounterMetricFamily(
        "trainyard_service_requests",
        "Requests by revision and code; revision 0 is for those that came to none.",
        labels=[*OF_REVISION, "code"],
    )
    latency = HistogramMetricFamily(
        "trainyard_service_request_seconds", "Seconds until the answer.", labels=OF_REVISION
    )
    under_way = GaugeMetricFamily(
        "trainyard_service_requests_in_flight", "Requests under way now.", labels=OF_REVISION
    )
    for tally in tallies:
        label = [tally.label.team, tally.label.service, str(tally.label.number)]
        for code, count in tally.by_code.items():
            requests.add_metric([*label, str(code)], count)
        if not tally.label.number:
            continue
        under_way.add_metric(label, tally.in_flight)
        latency.add_metric(label, buckets=list(_buckets(tally)), sum_value=tally.seconds)
    yield from (requests, latency, under_way)


def _buckets(tally: Tally) -> Iterator[tuple[str, int]]:
    total = 0
    for bound, count in zip(BOUNDS, tally.latencies, strict=True):
        total += count
        yield ("+Inf" if bound == BOUNDS[-1] else str(bound)), total


def _replicas_ready(counts: Iterable[tuple[str, str, int]]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(
        "trainyard_service_replicas_ready", "Replicas ready now.", labels=["team", "service"]
    )
    for team, service, count in counts:
        family.add_metric([team, service], count)
    return family


@database_sync_to_async
def _replicas() -> list[tuple[str, str, int]]:
    ready = Count("revisions__replicas", filter=Q(revisions__replicas__state=ReplicaState.READY))
    return list(
        Service.objects.filter(deleted_at=None)
        .annotate(ready=ready)
        .values_list("team__slug", "name", "ready")
    )


async def application(scope: dict[str, Any], receive: object, send: Send) -> None:
    """Answer Prometheus on this machine, and whoever holds an admin's token."""
    from deploy.gateway import gateway, refuse

    try:
        if scope["method"] not in {"GET", "HEAD"}:
            raise GatewayError(405, "Use GET", {b"allow": b"GET, HEAD"})
        if not _is_from_here(scope):
            await _check_token(scope["headers"])
    except GatewayError as error:
        await refuse(send, error)
        return
    text, kind = await text_of_metrics(gateway())
    headers = [(b"content-type", kind), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text})


def _is_from_here(scope: dict[str, Any]) -> bool:
    """Tell whether a program of this machine asks, and no proxy on it for someone else."""
    headers = dict(scope["headers"])
    client = (scope.get("client") or ("", 0))[0]
    asked_for, _ = split_domain_port(headers.get(b"host", b"").decode("latin-1"))
    hosts = {urlsplit(settings.TRAINYARD_URL).hostname, asked_for.strip("[]"), client}
    return hosts <= settings.LOOPBACK and not headers.keys() & FORWARDED


async def _check_token(headers: Headers) -> None:
    problem = await _problem_of(credentials_of(headers).secret)
    if problem is not None:
        raise problem


@database_sync_to_async
def _problem_of(secret: str) -> GatewayError | None:
    token = usable_token(secret)
    if token is None:
        challenge = {b"www-authenticate": b"Bearer"}
        return GatewayError(401, "Send an administrator's API token as bearer.", challenge)
    note_use(token)
    if token.user.is_superuser and Scope(token.scope).covers(Scope.READ):
        return None
    return GatewayError(403, "These are figures of all teams: an administrator's token is needed.")
