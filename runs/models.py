"""The nouns of training: snapshots, runs, process groups, events, metrics, files."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Left
from django.utils import timezone

from runs.config_fields import RUN_NAME_LENGTH
from runs.states import TERMINAL, EndReason, ProcessState, RequeueReason, RunStatus
from workspace.models import ComputeTarget, Environment, Experiment, Team

PARAMETER_START = 200


class Snapshot(models.Model):
    """An immutable source directory: a manifest of paths and SHA-256 digests over a team's blobs.

    The manifest itself is kept in the blob store under `digest`. `uploaded_at` is when it was
    uploaded last; without runs it is deleted a day later. `ignored_files` are files that a
    program may import or a configuration may name and that the latest upload left out, each with
    its rule.
    """

    team = models.ForeignKey(Team, models.CASCADE, related_name="snapshots")
    digest = models.CharField(max_length=64)
    file_count = models.IntegerField()
    total_bytes = models.BigIntegerField()
    ignored_files = models.JSONField(default=list)
    uploaded_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "digest"], name="one_snapshot_per_digest")
        ]

    def __str__(self) -> str:
        return self.digest[:12]


class Run(models.Model):
    """One submission: a snapshot, a configuration and what became of it.

    `config` is what `runs.config.RunConfig.to_row` gives. Only `runs.lifecycle.move` writes
    `status`. `requeue_reason` is set while an attempt is brought to its end so that the run can go
    back to the queue; `queue_rank` places it there among its equals in priority (its key when not
    set); `restarts` counts attempts that failed and were not the last. `placement` is what the
    queue gave the coming attempt: the node and GPUs of each process, in the order they are planned.
    `stored_bytes` is the size of all its files and logs, as measured last.
    From `deleted_at` on nobody sees the run, and a worker takes its files and rows away.

    A tracked run has no processes: a program elsewhere reports it. It has neither target nor
    snapshot nor configuration.
    """

    team = models.ForeignKey(Team, models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField()
    experiment = models.ForeignKey(Experiment, models.PROTECT, related_name="runs")
    snapshot = models.ForeignKey(
        Snapshot, models.PROTECT, null=True, blank=True, related_name="runs"
    )
    target = models.ForeignKey(
        ComputeTarget, models.PROTECT, null=True, blank=True, related_name="runs"
    )
    parent = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="children", db_index=False
    )
    environment = models.ForeignKey(
        Environment, models.SET_NULL, null=True, blank=True, related_name="runs"
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="runs"
    )
    config = models.JSONField()
    name = models.CharField(max_length=RUN_NAME_LENGTH, blank=True)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict)
    warnings = models.JSONField(default=list)
    priority = models.IntegerField(default=0)
    idempotency_key = models.CharField(max_length=100, blank=True)

    status = models.CharField(max_length=12, choices=RunStatus.choices, default=RunStatus.QUEUED)
    wait_reason = models.CharField(max_length=300, blank=True)
    end_reason = models.CharField(max_length=20, choices=EndReason.choices, blank=True)
    end_detail = models.JSONField(default=dict)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    kill_requested_at = models.DateTimeField(null=True, blank=True)
    queue_rank = models.FloatField(null=True, blank=True)
    placement = models.JSONField(default=list)
    requeue_reason = models.CharField(max_length=12, choices=RequeueReason.choices, blank=True)
    restarts = models.PositiveIntegerField(default=0)
    target_unreachable_since = models.DateTimeField(null=True, blank=True)
    hung_since = models.DateTimeField(null=True, blank=True)
    resumed_from = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="resumed_by"
    )
    encrypted_image_login = models.TextField(blank=True)
    last_seq = models.PositiveIntegerField(default=0)
    stored_bytes = models.BigIntegerField(null=True, blank=True)
    children_count: int  # `runs.selectors.runs_of` counts them

    created_at = models.DateTimeField(default=timezone.now)
    preparing_at = models.DateTimeField(null=True, blank=True)
    starting_at = models.DateTimeField(null=True, blank=True)
    running_at = models.DateTimeField(null=True, blank=True)
    finalizing_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "number"], name="one_run_per_number"),
            models.UniqueConstraint(
                fields=["team", "idempotency_key"],
                condition=~models.Q(idempotency_key=""),
                name="one_run_per_key",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["team", "-number"], name="runs_newest_first"),
            models.Index(fields=["status"], name="runs_by_status"),
            models.Index(fields=["team", "status", "ended_at"], name="runs_of_a_team_by_status"),
            models.Index(fields=["team", "ended_at"], name="runs_of_a_team_by_end"),
            models.Index(
                fields=["experiment", "-number"],
                condition=models.Q(deleted_at=None, archived_at=None),
                name="listed_runs_of_experiment",
            ),
            models.Index(fields=["environment", "ended_at"], name="runs_of_an_environment"),
            models.Index(fields=["team", "environment"], name="runs_of_a_team_by_env"),
            # Most runs have no parent: an index of all would be passed over for a scan.
            models.Index(
                fields=["parent"],
                condition=models.Q(parent__isnull=False),
                name="runs_of_a_parent",
            ),
            models.Index(
                fields=["deleted_at"],
                condition=models.Q(deleted_at__isnull=False),
                name="runs_to_take_away",
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.number}"

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_tracked(self) -> bool:
        return self.target_id is None

    @property
    def listed_tags(self) -> dict[str, str]:
        """The tags that lists show: those that people wrote, not MLflow's own."""
        return {name: value for name, value in self.tags.items() if not name.startswith("mlflow.")}

    @property
    def compute_target(self) -> ComputeTarget:
        """The target of a run with processes."""
        if self.target is None:
            raise ValueError(f"{self} is tracked: it has no compute target")
        return self.target

    @property
    def source(self) -> Snapshot:
        """The snapshot of a run with processes."""
        if self.snapshot is None:
            raise ValueError(f"{self} is tracked: it has no snapshot")
        return self.snapshot


class ProcessGroupQuerySet(models.QuerySet["ProcessGroup"]):
    def mark_removed(self) -> None:
        """Note that these groups are over: they write no more, and their secrets are forgotten."""
        self.update(is_fenced=True, removed_at=timezone.now(), encrypted_secrets="")


class ProcessGroup(models.Model):
    """One attempt of a run, or one replica of a service: processes that start and end together.

    Its label names it on the compute target; each attempt is a new group with new tokens, so that
    processes of an old attempt can write nothing into a new one. `channel` is the channel-layer
    group of those who watch it. `encrypted_secrets` is what `runs.launch.run_secrets` returned.
    Once an attempt is over, a worker is asked to read the rest of its metrics, and has read them at
    `metrics_read_at`.
    """

    label = models.CharField(max_length=64, unique=True)
    channel = models.CharField(max_length=64)
    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    target = models.ForeignKey(ComputeTarget, models.PROTECT, related_name="groups")
    environment = models.ForeignKey(Environment, models.SET_NULL, null=True, related_name="groups")
    run = models.ForeignKey(Run, models.CASCADE, null=True, blank=True, related_name="attempts")
    attempt = models.PositiveIntegerField(default=1)
    grace_seconds = models.PositiveIntegerField(default=30)
    encrypted_secrets = models.TextField(blank=True)
    is_fenced = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    barrier_opened_at = models.DateTimeField(null=True, blank=True)
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    metrics_requested_at = models.DateTimeField(null=True, blank=True)
    metrics_read_at = models.DateTimeField(null=True, blank=True)

    objects = ProcessGroupQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["metrics_requested_at"],
                condition=models.Q(metrics_requested_at__isnull=False, metrics_read_at=None),
                name="groups_with_unread_metrics",
            ),
            models.Index(fields=["environment", "removed_at"], name="groups_of_an_environment"),
            models.Index(fields=["team", "environment"], name="groups_of_a_team_by_env"),
            models.Index(fields=["removed_at"], name="groups_by_removal"),
        ]

    def __str__(self) -> str:
        return self.label


class Process(models.Model):
    """One process under a runner. `launch` is what the runner is told to start.

    `uploaded_bytes`: how much has come of the file that it is uploading.
    `launch`: {"command": [..], "environment": {..}, "source": "snapshot" or "model"}.
    """

    group = models.ForeignKey(ProcessGroup, models.CASCADE, related_name="processes")
    role = models.CharField(max_length=16)
    index = models.PositiveIntegerField()
    address = models.CharField(max_length=255, blank=True)
    node = models.CharField(max_length=100, blank=True)
    launch = models.JSONField(default=dict)
    cpus = models.FloatField(null=True, blank=True)
    memory_bytes = models.BigIntegerField(null=True, blank=True)
    gpus = models.JSONField(default=list)
    token_digest = models.CharField(max_length=64, unique=True)

    state = models.CharField(
        max_length=10, choices=ProcessState.choices, default=ProcessState.CREATED
    )
    exit_code = models.IntegerField(null=True, blank=True)
    exit_reason = models.CharField(max_length=200, blank=True)
    out_of_memory = models.BooleanField(default=False)
    uploaded_bytes = models.BigIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    exited_at = models.DateTimeField(null=True, blank=True)
    collected_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["group", "role", "index"], name="one_process_per_role_and_index"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"


class RunEvent(models.Model):
    """A numbered fact about a run; pages catch up from the last number they saw."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="events")
    seq = models.PositiveIntegerField()
    type = models.CharField(max_length=50)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "seq"], name="one_event_per_seq")
        ]

    def __str__(self) -> str:
        return f"{self.type} #{self.seq}"


class RunFile(models.Model):
    """An output of a run; one that came over REST is of no process."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="files")
    path = models.CharField(max_length=1000)
    process = models.ForeignKey(Process, models.CASCADE, null=True, blank=True, related_name="+")
    size_bytes = models.BigIntegerField()
    digest = models.CharField(max_length=64, blank=True)
    stored_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "path"], name="one_file_per_path")
        ]

    def __str__(self) -> str:
        return self.path


class MetricSeries(models.Model):
    """A named scalar of one process of a run (the process is empty when there is only one).

    `attempt` is the last one that wrote it; from `first_step` on all points are of that attempt.
    The last point is the greatest by step, time and value; its value is null for NaN.
    """

    run = models.ForeignKey(Run, models.CASCADE, related_name="series")
    process = models.CharField(max_length=32, blank=True)
    name = models.CharField(max_length=250)
    attempt = models.PositiveIntegerField(default=1)
    first_step = models.BigIntegerField(null=True)
    last_step = models.BigIntegerField(null=True)
    last_at = models.DateTimeField(null=True)
    last_value = models.FloatField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "process", "name"], name="one_series_per_name")
        ]

    def __str__(self) -> str:
        return self.name


class RunParameter(models.Model):
    """What a run's script got under a name; `number` is the value where it is one, to sort by.

    Values are looked up by their beginning, as an index holds no long texts.
    """

    run = models.ForeignKey(Run, models.CASCADE, related_name="parameters")
    name = models.CharField(max_length=250)
    value = models.TextField(max_length=6_000, blank=True)
    number = models.FloatField(null=True, blank=True)
    value_start = models.GeneratedField(
        expression=Left("value", PARAMETER_START),
        output_field=models.CharField(max_length=PARAMETER_START),
        db_persist=True,
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "name"], name="one_parameter_per_name")
        ]
        indexes: ClassVar = [
            models.Index(fields=["name", "value_start"], name="parameters_by_value")
        ]

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


class DatasetInput(models.Model):
    """A dataset that a run's program says it read, in MLflow's words; nothing of it is kept."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="dataset_inputs")
    name = models.CharField(max_length=500)
    digest = models.CharField(max_length=36)
    source_type = models.TextField(blank=True)
    source = models.TextField(blank=True)
    schema = models.TextField(blank=True)
    profile = models.TextField(blank=True)
    tags = models.JSONField(default=dict)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "name", "digest"], name="one_input_per_dataset")
        ]

    def __str__(self) -> str:
        return self.name


class LeftOutMetric(models.Model):
    """A named scalar of which nothing is kept, as the run has too many."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="+")
    process = models.CharField(max_length=32, blank=True)
    name = models.CharField(max_length=250)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["run", "process", "name"], name="one_left_out_metric_per_name"
            )
        ]

    def __str__(self) -> str:
        return self.name


class MetricChunk(models.Model):
    """Points of a series, ordered by step and then by arrival; later chunks hold later arrivals.

    `points` holds the steps, then the times in microseconds, then the values: 8 bytes each.
    `outline` of a full chunk has what charts of long series show of it.
    """

    series = models.ForeignKey(MetricSeries, models.CASCADE, related_name="chunks", db_index=False)
    count = models.PositiveIntegerField()
    first_step = models.BigIntegerField()
    last_step = models.BigIntegerField()
    outline = models.BinaryField(default=bytes)
    points = models.BinaryField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["series", "count"], name="chunks_by_size")]

    def __str__(self) -> str:
        return f"{self.count} points from step {self.first_step} to {self.last_step}"


class MetricCursor(models.Model):
    """How far a file of metrics has been read, in bytes.

    Up to `repeats_until` the file, which began anew, may hold points that are stored already.
    """

    run = models.ForeignKey(Run, models.CASCADE, related_name="+")
    path = models.CharField(max_length=1200)
    offset = models.BigIntegerField(default=0)
    repeats_until = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["run", "path"], name="one_cursor_per_file")
        ]

    def __str__(self) -> str:
        return f"{self.path} at {self.offset}"


class UsageSample(models.Model):
    """What a process and its children used at one moment: cores, bytes, and GPU share (0 to 1)."""

    process = models.ForeignKey(Process, models.CASCADE, related_name="usage")
    at = models.DateTimeField(default=timezone.now)
    cpus = models.FloatField()
    memory_bytes = models.BigIntegerField()
    gpu = models.FloatField(null=True, blank=True)
    gpu_memory_bytes = models.BigIntegerField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["process", "at"], name="usage_by_time")]

    def __str__(self) -> str:
        return f"{self.cpus:.2f} cores"
