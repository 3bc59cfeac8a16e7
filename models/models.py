"""The registry: named models, each a row of numbered, immutable versions."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from runs.models import Run
from workspace.models import Team
from workspace.platform.background_jobs import JobRow

MAX_FRAMEWORK_VERSION = 32
MAX_SAVED_WITH = 64
NAME_RULE = (
    "1 to 255 letters, digits, hyphens, dots and underscores, starting with a letter or digit"
)
model_name_validator = RegexValidator(r"^[a-zA-Z0-9][a-zA-Z0-9\-._]{0,254}\Z", f"Use {NAME_RULE}.")


class RegisteredModel(models.Model):
    team = models.ForeignKey(Team, models.CASCADE, related_name="models")
    name = models.CharField(max_length=255, validators=[model_name_validator])
    last_version = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "name"], name="one_model_per_name")
        ]

    def __str__(self) -> str:
        return self.name


class Stage(models.TextChoices):
    NONE = "none"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class ModelVersion(models.Model):
    """One registration: files (a manifest in the team's blob store), signatures and lineage.

    `resource_configuration`: {"cpu": cores, "memory_in_gb": GB, "gpu": count}, each may be null.
    `signatures`: {key: {"method": .., "inputs": {name: {"dtype": .., "shape": [..] or null}},
    with "encoding" where one is "ragged", "sparse" or "composite",
    "outputs": the same}}. `properties` are set once; tags, stage and description may change.
    `origin` is what stays known of its run when that is deleted: {"run": number, "experiment":
    name, "snapshot": digest}; of an upload it is empty. `saved_with` is the TensorFlow that wrote
    the files, as they say it themselves.
    `scan`: what a reader should know of its graphs, [{"level", "kind", "message"}], null before.
    One that is deleted stays as a row, for what served it once; its files are swept away.
    """

    model = models.ForeignKey(RegisteredModel, models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    run = models.ForeignKey(
        Run, models.SET_NULL, null=True, blank=True, related_name="model_versions"
    )
    origin = models.JSONField(default=dict)
    path = models.CharField(max_length=1000, blank=True)
    framework = models.CharField(max_length=32, default="TensorFlow")
    framework_version = models.CharField(max_length=MAX_FRAMEWORK_VERSION)
    saved_with = models.CharField(max_length=MAX_SAVED_WITH, blank=True)
    resource_configuration = models.JSONField(default=dict)
    tags = models.JSONField(default=dict)
    properties = models.JSONField(default=dict)
    stage = models.CharField(max_length=10, choices=Stage.choices, default=Stage.NONE)
    description = models.TextField(blank=True)
    scan = models.JSONField(null=True, blank=True)
    signatures = models.JSONField(default=dict)
    manifest_digest = models.CharField(max_length=64)
    file_count = models.IntegerField()
    total_bytes = models.BigIntegerField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "version"], name="one_version_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.model.name}:{self.version}"

    @property
    def run_to_visit(self) -> Run | None:
        """The run that it is from, while that is not deleted."""
        return None if self.run is None or self.run.deleted_at else self.run


class ModelAlias(models.Model):
    """A name that one version of a model has at a time, such as champion."""

    model = models.ForeignKey(RegisteredModel, models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=64, validators=[model_name_validator])
    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="aliases")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "name"], name="one_alias_per_name")
        ]

    def __str__(self) -> str:
        return f"{self.model}@{self.name}"


class JobState(models.TextChoices):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class BackgroundJob(JobRow):
    """What a worker does in an environment. One that stops without an end stops its heartbeat."""

    state = models.CharField(max_length=7, choices=JobState.choices, default=JobState.WAITING)
    step = models.CharField(max_length=100, blank=True)
    error = models.TextField(blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def is_over(self) -> bool:
        return self.state in (JobState.DONE, JobState.FAILED)


class OnnxConversion(BackgroundJob):
    """A version as ONNX: the file (alone in a manifest), and how close it comes to the SavedModel.

    `parity`: {"rows", "signature", "is_close", "outputs": {name: {"absolute", "relative"}}}.
    """

    version = models.OneToOneField(ModelVersion, models.CASCADE, related_name="onnx")
    opset = models.PositiveSmallIntegerField(null=True, blank=True)
    manifest_digest = models.CharField(max_length=64, blank=True)
    size_bytes = models.BigIntegerField(null=True, blank=True)
    parity = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.version} as ONNX"


class ModelImport(BackgroundJob):
    """A Keras file that becomes a version once it is converted; the file is alone in a manifest.

    `registration`: what models.registration reads. `allows_code` lets it hold Lambda layers.
    """

    team = models.ForeignKey(Team, models.CASCADE, related_name="imports")
    number = models.PositiveIntegerField()
    run = models.ForeignKey(Run, models.SET_NULL, null=True, blank=True, related_name="+")
    filename = models.CharField(max_length=1000)
    manifest_digest = models.CharField(max_length=64)
    registration = models.JSONField()
    allows_code = models.BooleanField(default=False)
    version = models.OneToOneField(
        ModelVersion, models.SET_NULL, null=True, blank=True, related_name="imported_by"
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "number"], name="one_import_per_number")
        ]

    def __str__(self) -> str:
        return f"import {self.number}"
