"""The nouns of serving: services, their keys, revisions and replicas."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from models.models import ModelVersion
from runs.models import ProcessGroup
from workspace.models import ComputeTarget, Environment, Team

NAME_RULE = (
    "3 to 32 lowercase letters, digits and hyphens, starting with a letter and not ending in a"
    " hyphen"
)
service_name_validator = RegexValidator(r"^[a-z]([-a-z0-9]{1,30}[a-z0-9])\Z", f"Use {NAME_RULE}.")


class ServiceState(models.TextChoices):
    TRANSITIONING = "Transitioning"
    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
    FAILED = "Failed"
    STOPPED = "Stopped"


class AccessPolicy(models.TextChoices):
    """Who may score: holders of a key, of a token, members of the team, or everybody."""

    KEYS = "keys"
    TOKENS = "tokens"
    TEAM = "team"
    PUBLIC = "open"


class Service(models.Model):
    """A model behind a scoring address. `is_wanted` is what people asked for, `state` what is.

    `sticky_by`: "key", the name of a header, or "" for none. `allowed_origins`: the origins whose
    web pages may call it, as browsers send them. What is not asked for is empty:
    `autoscale`: {"min_replicas", "max_replicas", "target_utilization" (percent),
    "requests_per_replica", "cool_down_seconds", "idle_seconds" (null: never to zero)};
    `rollback`: {"error_rate" (0 to 1), "p95_ms", "min_requests"};
    `request_log`: {"sample" (0 to 1), "redact" (names of inputs)};
    `baseline`: {"at", "source", "rows", "features": {name: {"kind", "edges", "counts"}}}, which
    inputs are held against.
    A request that meets a service without replicas notes `wake_requested_at`.
    """

    team = models.ForeignKey(Team, models.CASCADE, related_name="services")
    name = models.CharField(max_length=32, validators=[service_name_validator])
    target = models.ForeignKey(ComputeTarget, models.PROTECT, related_name="services")
    is_wanted = models.BooleanField(default=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    state = models.CharField(
        max_length=14, choices=ServiceState.choices, default=ServiceState.TRANSITIONING
    )
    state_reason = models.TextField(blank=True)
    access_policy = models.CharField(
        max_length=6, choices=AccessPolicy.choices, default=AccessPolicy.KEYS
    )
    sticky_by = models.CharField(max_length=64, blank=True)
    allowed_origins = models.JSONField(default=list, blank=True)
    autoscale = models.JSONField(default=dict, blank=True)
    rollback = models.JSONField(default=dict, blank=True)
    request_log = models.JSONField(default=dict, blank=True)
    smoke_test_request = models.JSONField(null=True, blank=True)
    baseline = models.JSONField(default=dict, blank=True)
    wake_requested_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["team", "name"],
                condition=models.Q(deleted_at=None),
                name="one_service_per_name",
            )
        ]

    def __str__(self) -> str:
        return self.name


class KeySlot(models.TextChoices):
    PRIMARY = "primary"
    SECONDARY = "secondary"


class ServiceKey(models.Model):
    service = models.ForeignKey(Service, models.CASCADE, related_name="keys")
    slot = models.CharField(max_length=9, choices=KeySlot.choices)
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    calls_per_minute = models.PositiveIntegerField(null=True, blank=True)
    use_count = models.PositiveBigIntegerField(default=0)
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["service", "slot"], name="one_key_per_slot")
        ]

    def __str__(self) -> str:
        return f"{self.slot} key of {self.service}"


class Revision(models.Model):
    """What a service ran from one deployment on: a model version, resources and replicas.

    `resources`: {"cpu": cores, "memory_gb": GB, "gpu": count}, each may be null.
    `consecutive_crashes` counts replicas that ended soon after their start, one after the other;
    the next one starts at `retry_at`. Once `failure` says why, no more are started. `weight` is its
    percentage of the requests, null for one that follows the rule: all go to the newest that is
    verified. It is `verified_at` once all of its replicas passed the smoke test, and `has_answered`
    once one of them answered it; a model may refuse a generated request. A shadow is sent copies.
    """

    service = models.ForeignKey(Service, models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    model_version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="revisions")
    resources = models.JSONField(default=dict)
    replica_count = models.PositiveIntegerField(default=1)
    environment = models.ForeignKey(
        Environment, models.SET_NULL, null=True, blank=True, related_name="revisions"
    )
    weight = models.PositiveSmallIntegerField(null=True, blank=True)
    is_shadow = models.BooleanField(default=False)
    verified_at = models.DateTimeField(null=True, blank=True)
    has_answered = models.BooleanField(default=False)
    notice = models.TextField(blank=True)
    consecutive_crashes = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True, blank=True)
    failure = models.TextField(blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["service", "number"], name="one_revision_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.service} revision {self.number}"


REPLICA_ROLE = "server"


class ReplicaState(models.TextChoices):
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    STOPPING = "stopping"
    ENDED = "ended"


class Replica(models.Model):
    """One model server of a revision; a replacement is a new replica with the next number.

    `has_failed` tells one that ended by itself, and `reason` how, from one that was stopped.
    """

    revision = models.ForeignKey(Revision, models.CASCADE, related_name="replicas")
    number = models.PositiveIntegerField()
    group = models.OneToOneField(
        ProcessGroup, models.SET_NULL, null=True, blank=True, related_name="replica"
    )
    address = models.CharField(max_length=255, blank=True)
    grpc_address = models.CharField(max_length=255, blank=True)
    state = models.CharField(
        max_length=10, choices=ReplicaState.choices, default=ReplicaState.STARTING
    )
    has_failed = models.BooleanField(default=False)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    ready_at = models.DateTimeField(null=True, blank=True)
    unhealthy_at = models.DateTimeField(null=True, blank=True)
    stopping_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["state"], name="replicas_by_state"),
            models.Index(fields=["revision", "ended_at"], name="living_replicas_of_revision"),
            models.Index(fields=["ended_at"], name="replicas_by_end"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Return the name of its process, which no other replica of the service has."""
        return f"{REPLICA_ROLE}-{self.number}"


class Traffic(models.Model):
    """What the gateway of one web process saw of a revision in ten seconds from `at` on.

    `latencies`: counts of answers by duration, one for each of the bounds of
    deploy/traffic/latency_histogram.py.
    `mismatches` counts the copies of requests that a shadow answered in another way.
    """

    revision = models.ForeignKey(Revision, models.CASCADE, related_name="traffic")
    at = models.DateTimeField()
    source = models.CharField(max_length=64)
    requests = models.PositiveIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0)
    in_flight = models.FloatField(default=0.0)
    mismatches = models.PositiveIntegerField(default=0)
    latencies = models.JSONField(default=list)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["revision", "at", "source"], name="one_row_per_span")
        ]

    def __str__(self) -> str:
        return f"{self.revision} at {self.at}"


class LoggedRequest(models.Model):
    """A request that the gateway kept, of those that a service has it sample."""

    service = models.ForeignKey(Service, models.CASCADE, related_name="logged_requests")
    revision = models.ForeignKey(Revision, models.CASCADE, related_name="logged_requests")
    at = models.DateTimeField(default=timezone.now)
    principal = models.CharField(max_length=150, blank=True)
    status = models.PositiveSmallIntegerField()
    seconds = models.FloatField()
    request = models.TextField(blank=True)
    answer = models.TextField(blank=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["service", "-at"], name="requests_of_a_service")]

    def __str__(self) -> str:
        return f"request of {self.at}"

    @property
    def milliseconds(self) -> float:
        return 1000 * self.seconds


class StorageReport(models.Model):
    """How many bytes of the server's disk a team uses, as measured last.

    `blob_bytes` is what source files and models use together, each file stored once; `model_bytes`
    is the size of all model versions, with files that several share counted for each.
    """

    team = models.OneToOneField(Team, models.CASCADE, related_name="storage_report")
    measured_at = models.DateTimeField()
    run_bytes = models.BigIntegerField()
    service_bytes = models.BigIntegerField()
    blob_bytes = models.BigIntegerField()
    model_bytes = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.team} at {self.measured_at}"
