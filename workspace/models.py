"""What a team shares: members, secrets, tokens, compute targets, environments, experiments."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from workspace.compute.registry import KindInfo, kind_info
from workspace.platform.background_jobs import JobRow
from workspace.platform.leases import Lease as Lease  # a model of this app
from workspace.sizes import MEGABYTE

slug_validator = RegexValidator(
    r"^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$",
    "Use 1 to 32 lowercase letters, digits and hyphens, with a letter or digit at both ends.",
)


class Installation(models.Model):
    """The one installation that the database is of, and how often it was started.

    The file `installation` of its home says the same. `purged_until` is the time by which the daily
    maintenance judges what is old (workspace.retention).
    """

    identity = models.CharField(max_length=32, primary_key=True)
    starts = models.PositiveBigIntegerField(default=0)
    purged_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.identity


class Role(models.TextChoices):
    """What a member may do; each role may do what the one before it may."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Team(models.Model):
    """People who share runs, models and services.

    Runs that ended over `keep_runs_days` ago are deleted, and the oldest while all of them use more
    than `keep_runs_bytes`. `last_deleted_run` is the highest number of a deleted run: numbers are
    never used again.
    """

    slug = models.CharField(max_length=32, unique=True, validators=[slug_validator])
    name = models.CharField(max_length=100)
    snapshot_max_bytes = models.BigIntegerField(default=300 * MEGABYTE)
    snapshot_max_files = models.IntegerField(default=2000)
    keep_runs_days = models.PositiveIntegerField(null=True, blank=True)
    keep_runs_bytes = models.BigIntegerField(null=True, blank=True)
    last_deleted_run = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    team = models.ForeignKey(Team, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "user"], name="one_membership_per_team")
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"

    @property
    def is_admin(self) -> bool:
        return Role(self.role).covers(Role.ADMIN)

    @property
    def may_write(self) -> bool:
        return Role(self.role).covers(Role.MEMBER)


class TeamSecret(models.Model):
    """A value that runs of the team get by its name. It is replaced or deleted, never shown."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="secrets")
    name = models.CharField(max_length=64)
    encrypted_value = models.TextField()
    size_bytes = models.PositiveIntegerField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "name"], name="one_secret_per_name")
        ]

    def __str__(self) -> str:
        return self.name


class OneTimePassword(models.Model):
    """Marks a user whose password was made for them and must be changed at the first log-in."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+"
    )

    def __str__(self) -> str:
        return f"one-time password of {self.user}"


class LoginFailure(models.Model):
    """A log-in that failed or is being tried. `key` is a keyed hash of a user name or address."""

    key = models.CharField(max_length=64)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["key", "at"], name="failures_by_key")]

    def __str__(self) -> str:
        return f"{self.key[:8]} at {self.at}"


class Invitation(models.Model):
    """A link that lets whoever holds it join a team, once, until it expires."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="invitations")
    digest = models.CharField(max_length=64, unique=True)
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    accepted_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"invitation to {self.team} as {self.role}"

    @property
    def is_open(self) -> bool:
        return self.accepted_at is None and self.expires_at > timezone.now()


class Scope(models.TextChoices):
    """What a token may be used for; each scope includes the one before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, needed: "Scope") -> bool:
        order = list(Scope)
        return order.index(self) >= order.index(needed)


class ApiToken(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    scope = models.CharField(max_length=10, choices=Scope.choices, default=Scope.WRITE)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_usable(self) -> bool:
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.revoked_at is None and not expired


class TargetManager(models.Manager["ComputeTarget"]):
    """The targets that are there; deleted ones are found only through what once ran on them."""

    def get_queryset(self) -> models.QuerySet["ComputeTarget"]:
        return super().get_queryset().filter(deleted_at=None)


class ComputeTarget(models.Model):
    """A place where a team's processes run, and how much of it they may use.

    `kind` is one of `workspace.compute.registry.KINDS`. Targets with the same `pool` stand for the
    same machines, whose capacity counts once. Fields that start with `encrypted_` hold what
    `workspace.platform.encryption` returned, and are never shown. Limits that are not set are those
    of the machines. `idle_cpus` and `idle_memory_bytes` stay idle on every node, left to whatever
    else it does. `shared_folder` is on the same disk on every node. `is_trusted`: the address is
    given by the installation's admin, so it may be this machine's or a private one.
    """

    team = models.ForeignKey(Team, models.CASCADE, related_name="targets")
    name = models.CharField(max_length=32, validators=[slug_validator])
    kind = models.CharField(max_length=20, default="local")
    is_paused = models.BooleanField(default=False)
    allow_shared = models.BooleanField(
        default=False,
        help_text="Let code of several users run on this machine without containers.",
    )
    is_draining = models.BooleanField(default=False)
    max_processes = models.PositiveIntegerField(default=64)

    address = models.CharField(max_length=300, blank=True)
    is_trusted = models.BooleanField(default=False)
    tls_ca = models.TextField(blank=True)
    tls_cert = models.TextField(blank=True)
    encrypted_tls_key = models.TextField(blank=True)
    registry = models.CharField(max_length=200, blank=True)
    registry_user = models.CharField(max_length=200, blank=True)
    encrypted_registry_password = models.TextField(blank=True)
    base_image = models.CharField(max_length=300, blank=True)
    gpu_base_image = models.CharField(max_length=300, blank=True)
    web_url = models.URLField(blank=True)
    shared_folder = models.CharField(max_length=300, blank=True)
    pool = models.CharField(max_length=100, blank=True)

    nodes = models.JSONField(default=list, blank=True)
    max_cpus = models.FloatField(null=True, blank=True)
    max_memory_bytes = models.BigIntegerField(null=True, blank=True)
    max_gpus = models.PositiveIntegerField(null=True, blank=True)
    idle_cpus = models.FloatField(default=0.0)
    idle_memory_bytes = models.BigIntegerField(default=0)
    max_gpus_per_run = models.PositiveIntegerField(null=True, blank=True)
    default_priority = models.IntegerField(default=0)
    max_priority = models.IntegerField(default=100)
    images_kept_days = models.PositiveIntegerField(default=30)
    images_max_bytes = models.BigIntegerField(null=True, blank=True)

    unreachable_since = models.DateTimeField(null=True, blank=True)
    unreachable_reason = models.CharField(max_length=500, blank=True)
    unreachable_timeout_seconds = models.PositiveIntegerField(default=600)
    hang_timeout_seconds = models.PositiveIntegerField(default=1800)
    fail_hung_runs = models.BooleanField(default=False)

    created_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = TargetManager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["team", "name"],
                condition=models.Q(deleted_at=None),
                name="one_target_per_name",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def kind_info(self) -> KindInfo:
        return kind_info(self.kind)


class GrantLimits(models.Model):
    """How much of a target a team may use."""

    max_runs = models.PositiveIntegerField(null=True, blank=True)
    max_gpus = models.PositiveIntegerField(null=True, blank=True)
    gpu_hours_a_month = models.FloatField(null=True, blank=True)
    min_role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)

    class Meta:
        abstract = True


class TargetGrant(GrantLimits):
    """How much of a target one team may use; a team that is not its owner needs one to use it."""

    target = models.ForeignKey(ComputeTarget, models.CASCADE, related_name="grants")
    team = models.ForeignKey(Team, models.CASCADE, related_name="target_grants")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["target", "team"], name="one_grant_per_team")
        ]

    def __str__(self) -> str:
        return f"{self.team} on {self.target}"


class TargetOffer(GrantLimits):
    """A share of a target that was not accepted yet. `to` is the slug of a team, or of none."""

    target = models.ForeignKey(ComputeTarget, models.CASCADE, related_name="offers")
    to = models.CharField(max_length=32)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["target", "to"], name="one_offer_per_slug")
        ]

    def __str__(self) -> str:
        return f"{self.target} for {self.to}"


class EnvironmentState(models.TextChoices):
    PENDING = "pending"
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class Environment(JobRow):
    """The Python packages that processes on one pool of machines run with, built once per digest.

    `target` is the one through which it is built and held: any of its pool will do.

    `spec` is what `workspace.compute.environment_spec.EnvironmentSpec` serialises to; `digest` is
    its SHA-256.
    `packages` gives the version of each Python package, `versions` those of what matters most.
    """

    digest = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=20)
    target = models.ForeignKey(ComputeTarget, models.SET_NULL, null=True, related_name="+")
    spec = models.JSONField()
    state = models.CharField(
        max_length=10, choices=EnvironmentState.choices, default=EnvironmentState.PENDING
    )
    reference = models.CharField(max_length=500, blank=True)
    packages = models.JSONField(default=dict)
    versions = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    size_bytes = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    built_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.kind} {self.digest[:12]}"


class Experiment(models.Model):
    """What a team compares. An archived one is in no list; its name stays taken.

    Its runs that were archived along have the same `archived_at`.
    """

    team = models.ForeignKey(Team, models.CASCADE, related_name="experiments")
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "name"], name="one_experiment_per_name")
        ]

    def __str__(self) -> str:
        return self.name


class AuditEntry(models.Model):
    """Who did what to which object of a team, and when."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="audit_entries")
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    action = models.CharField(max_length=50)
    subject = models.CharField(max_length=200)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["team", "-at"], name="audit_newest_first")]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"
