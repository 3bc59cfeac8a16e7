"""What Prometheus asks the web process: the gateway, every service behind it, and how all is."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from django.conf import settings
from django.http.request import split_domain_port

from deploy.gateway.credentials import Headers, credentials_of
from deploy.gateway.errors import GatewayError
from deploy.gateway.forwarding import Send
from deploy.models import Replica, ReplicaState, Service
from deploy.traffic.counters import RevisionCounters
from deploy.traffic.latency_histogram import BOUNDS
from workspace.accounts.tokens import record_use, usable_token
from workspace.models import Scope
from workspace.platform.database_threads import run_in_file_thread
from workspace.status import SystemStatus, system_status

if TYPE_CHECKING:
    from prometheus_client import Metric

    from deploy.gateway.application import Gateway

PATH = "/metrics"
FORWARDED = {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"}
OF_REVISION = ["team", "service", "revision"]


async def text_of_metrics(gateway: "Gateway") -> tuple[bytes, bytes]:
    """Yield the metrics and their content type."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    # A broker that hangs holds up who asks for the metrics, and not the gateway's own questions.
    replicas = await run_in_file_thread(ready_replicas)
    status = await run_in_file_thread(system_status)

    class Collector:
        def collect(self) -> Iterator["Metric"]:
            tallies = gateway.recorder.counters
            yield _refusals(gateway.rejected)
            yield from _traffic([*tallies.by_revision.values(), *tallies.unrouted.values()])
            yield _replicas_ready(replicas)
            yield from _system(status)

    registry = CollectorRegistry()
    registry.register(Collector())
    return generate_latest(registry), CONTENT_TYPE_LATEST.encode()


def _refusals(refused: dict[int, int]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(
        "trainyard_gateway_refused", "Rejected requests, by status.", labels=["code"]
    )
    for code, count in refused.items():
        family.add_metric([str(code)], count)
    return family


def _traffic(tallies: Iterable[RevisionCounters]) -> Iterator["Metric"]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    requests = CounterMetricFamily(
        "trainyard_service_requests",
        "Requests by revision and code; revision 0 counts requests that reached no revision.",
        labels=[*OF_REVISION, "code"],
    )
    latency = HistogramMetricFamily(
        "trainyard_service_request_seconds", "Response time in seconds.", labels=OF_REVISION
    )
    under_way = GaugeMetricFamily(
        "trainyard_service_requests_in_flight", "Requests in progress.", labels=OF_REVISION
    )
    for counters in tallies:
        label = [counters.label.team, counters.label.service, str(counters.label.number)]
        for code, count in counters.by_code.items():
            requests.add_metric([*label, str(code)], count)
        if not counters.label.number:
            continue
        under_way.add_metric(label, counters.in_flight)
        latency.add_metric(label, buckets=list(_buckets(counters)), sum_value=counters.seconds)
    yield from (requests, latency, under_way)


def _buckets(counters: RevisionCounters) -> Iterator[tuple[str, int]]:
    total = 0
    for bound, count in zip(BOUNDS, counters.latencies, strict=True):
        total += count
        yield ("+Inf" if bound == BOUNDS[-1] else str(bound)), total


def _replicas_ready(counts: Iterable[tuple[str, str, int]]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(
        "trainyard_service_replicas_ready", "Ready replicas.", labels=["team", "service"]
    )
    for team, service, count in counts:
        family.add_metric([team, service], count)
    return family


def ready_replicas() -> list[tuple[str, str, int]]:
    """Return team, name and number of ready replicas of every service."""
    ready = Replica.objects.filter(ended_at=None, state=ReplicaState.READY)
    counts = Counter(ready.values_list("revision__service", flat=True))
    services = Service.objects.filter(deleted_at=None).values_list("pk", "team__slug", "name")
    return [(team, name, counts[pk]) for pk, team, name in services]


def _system(status: SystemStatus) -> Iterator["Metric"]:
    from prometheus_client.core import GaugeMetricFamily

    for name, text, value in (
        ("tick_lag_seconds", "Time since the supervisor's last tick.", status.tick_lag_seconds),
        ("tick_seconds", "How long the supervisor's last tick took.", status.tick_seconds),
        ("database_connections", "Connections to PostgreSQL.", status.database_connections),
        ("disk_free_bytes", "Free space in TRAINYARD_HOME.", status.disk_free_bytes),
        ("disk_total_bytes", "Size of the disk of TRAINYARD_HOME.", status.disk_total_bytes),
    ):
        if value is not None:
            yield GaugeMetricFamily(f"trainyard_{name}", text, value=value)
    waiting = GaugeMetricFamily("trainyard_jobs_waiting", "Jobs that wait.", labels=["queue"])
    oldest = GaugeMetricFamily(
        "trainyard_oldest_job_seconds", "How long the first job waits.", labels=["queue"]
    )
    for queue in status.queues:
        waiting.add_metric([queue.name], queue.waiting)
        oldest.add_metric([queue.name], queue.oldest_seconds)
    yield from (waiting, oldest)
    for field, text in (
        ("descriptors", "Open descriptors."),
        ("max_descriptors", "Descriptors that the process may open."),
        ("threads", "Threads."),
        ("connections", "Open sockets."),
    ):
        family = GaugeMetricFamily(f"trainyard_process_{field}", text, labels=["process"])
        for name, usage in status.processes.items():
            family.add_metric([name], getattr(usage, field))
        yield family


async def application(scope: dict[str, Any], receive: object, send: Send) -> None:
    """Answer Prometheus on this machine, and whoever holds an admin's token."""
    from deploy.gateway.application import gateway, send_error

    try:
        if scope["method"] not in {"GET", "HEAD"}:
            raise GatewayError(405, "Use GET", {b"allow": b"GET, HEAD"})
        if not _is_from_here(scope):
            await _check_token(scope["headers"])
    except GatewayError as error:
        await send_error(send, error)
        return
    text, kind = await text_of_metrics(gateway())
    headers = [(b"content-type", kind), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text})


def _is_from_here(scope: dict[str, Any]) -> bool:
    """Return whether a program of this machine asks, and no proxy on it for someone else."""
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
        return GatewayError(401, "Send an administrator's API token as a bearer token.", challenge)
    record_use(token)
    if token.user.is_superuser and Scope(token.scope).covers(Scope.READ):
        return None
    return GatewayError(403, "Metrics cover all teams: send an administrator's API token.")
