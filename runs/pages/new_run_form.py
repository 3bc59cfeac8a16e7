"""The form of a new run, which turns what a person enters into a configuration.

It validates nothing itself: `runs.config` does, and its errors are shown beside these fields.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django import forms
from django.http import QueryDict

from runs.config import RestartOn, RunConfig
from runs.distribution import Distribution, Mode
from workspace.compute.environment_spec import CURATED
from workspace.models import ComputeTarget
from workspace.platform.errors import FieldError
from workspace.platform.forms import UnsuffixedForm
from workspace.platform.json_body import load_json

MODES = [
    (Mode.SINGLE.value, "Single: one process"),
    (Mode.MULTI_WORKER.value, "Multi-worker: MultiWorkerMirroredStrategy"),
    (Mode.PARAMETER_SERVER.value, "Parameter server"),
    (Mode.MPI.value, "MPI: Horovod or mpi4py"),
]
# The layouts of a parameter-server cluster, and the tasks beside its workers and servers.
CLUSTER_LAYOUTS = {
    "workers": ("Workers and parameter servers (Azure ML)", {}),
    "chief": ("Chief, workers and parameter servers (TensorFlow 2)", {"chief": True}),
    "estimator": (
        "Chief, workers, parameter servers and evaluator (tf.estimator)",
        {"chief": True, "evaluator": True},
    ),
}
RESTARTS = [
    (RestartOn.SYSTEM_FAILURE.value, "System failures: exit codes from 128 on, or a lost node"),
    (RestartOn.ANY_FAILURE.value, "Any failure, including errors of the script"),
]
TEXTS = (
    *("experiment", "entry_script", "name", "description"),
    *("compute_target", "framework_version"),
)
NUMBERS = ("cpus_per_process", "memory_gb")
FORM_FIELD_OF = {
    "distributed_training": "mode",
    "distributed_training.type": "mode",
    "distributed_training.worker_count": "worker_count",
    "distributed_training.parameter_server_count": "parameter_server_count",
    "distributed_training.process_count_per_node": "process_count_per_node",
    "distributed_training.chief": "cluster_layout",
    "distributed_training.evaluator": "cluster_layout",
    "use_gpu": "gpus_per_process",
    "max_run_duration_seconds": "max_hours",
    "image_registry_details": "image_username",
    "image_registry_details.username": "image_username",
    "image_registry_details.password": "image_password",
}
# Fields of a configuration that are rows of names and values, and what the form calls those.
ROWS = {
    "script_params": "params",
    "environment_variables": "variables",
    "secrets": "secrets",
    "tags": "tags",
}
CONTAINER_ONLY_FIELDS = ("conda_dependencies_file", "custom_docker_image", "shm_size")


@dataclass(frozen=True)
class Row:
    """A name and a value; `kind` is list where the value is JSON for several arguments.

    The value of a variable with a secret is the secret's name, and `file` that of its file.
    """

    name: str = ""
    value: str = ""
    kind: str = "text"
    error: str = ""
    file: str = ""


def _text(label: str, help_text: str = "", **attrs: str) -> forms.CharField:
    return forms.CharField(
        label=label, help_text=help_text, required=False, widget=forms.TextInput(attrs=attrs)
    )


def _number(label: str, help_text: str = "", **attrs: str) -> forms.CharField:
    return _text(label, help_text, **{"inputmode": "decimal", "autocomplete": "off", **attrs})


class NewRunForm(UnsuffixedForm):
    """The fields of a run, without its files."""

    experiment = _text(
        "Experiment",
        "Groups runs that you compare. A new name creates an experiment.",
        list="experiments",
        autocomplete="off",
    )
    entry_script = _text(
        "Entry script", "The Python file to start.", list="scripts", autocomplete="off"
    )
    name = _text("Name", "For people. It can be changed later.", autocomplete="off")
    description = _text("Description", autocomplete="off")
    compute_target = forms.ChoiceField(label="Compute target", required=False)
    framework_version = forms.ChoiceField(
        label="TensorFlow", required=False, choices=[(name, name) for name in CURATED]
    )
    mode = forms.ChoiceField(label="Distribution mode", required=False, choices=MODES)
    cluster_layout = forms.ChoiceField(
        label="Cluster roles",
        required=False,
        choices=[(name, words) for name, (words, _) in CLUSTER_LAYOUTS.items()],
    )
    worker_count = _number("Workers", inputmode="numeric")
    parameter_server_count = _number("Parameter servers", inputmode="numeric")
    node_count = _number(
        "Nodes", "On targets without containers all ranks run on this machine.", inputmode="numeric"
    )
    process_count_per_node = _number("Processes per node", "MPI ranks.", inputmode="numeric")
    cpus_per_process = _number("CPUs", "Per process. Empty: no limit.")
    memory_gb = _number("Memory (GB)", "Per process. Empty: no limit.")
    gpus_per_process = _number("GPUs", "Per process. Empty or 0: CPU only.", inputmode="numeric")
    pip_packages = forms.CharField(
        label="pip packages",
        help_text="One per line, such as scikit-learn==1.7.",
        required=False,
        widget=forms.Textarea(attrs={"rows": "3", "spellcheck": "false"}),
    )
    pip_requirements_file = _text(
        "Requirements file",
        "A file in the source directory.",
        list="requirements",
        autocomplete="off",
    )
    conda_packages = forms.CharField(
        label="conda packages",
        help_text="One per line, such as ffmpeg.",
        required=False,
        widget=forms.Textarea(attrs={"rows": "3", "spellcheck": "false"}),
    )
    conda_dependencies_file = _text(
        "Conda file", "A file in the source directory that replaces the other package fields."
    )
    custom_docker_image = _text("Docker image", "Empty: an image is built for the run.")
    image_username = _text("Registry user name", "For a private image.", autocomplete="off")
    image_password = forms.CharField(
        label="Registry password",
        help_text="Stored encrypted and never shown.",
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    shm_size = _text("Shared memory", "Size of /dev/shm, such as 2g.")
    max_hours = _number("Time limit, hours", "Empty: no limit.")
    max_minutes = _number("Time limit, minutes", "Added to the hours.")
    max_restarts = _number(
        "Maximum restarts",
        "Restarts keep the checkpoint directory. Empty: none.",
        inputmode="numeric",
    )
    restart_on = forms.ChoiceField(label="Restart after", required=False, choices=RESTARTS)
    resume_from = _number(
        "Resume from run",
        "The script gets its outputs as --resume-from.",
        inputmode="numeric",
    )
    priority = _number(
        "Priority",
        "-100 to 100. Higher starts first; below 0 may be preempted.",
        inputmode="numeric",
    )

    def __init__(
        self,
        data: QueryDict | None = None,
        *,
        targets: Iterable[ComputeTarget],
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data, initial=dict(initial or {}))
        self._choices("compute_target").choices = [(t.name, t.name) for t in targets]
        self._rows: dict[str, list[Row]] = {
            name: list((initial or {}).get(name, [])) for name in ROWS.values()
        }
        if data is not None:
            self._rows = {name: _rows_from(data, name.removesuffix("s")) for name in ROWS.values()}

    def _choices(self, name: str) -> forms.ChoiceField:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 (it is declared above)
        return field

    @property
    def params(self) -> list[Row]:
        return self._rows["params"]

    @property
    def variables(self) -> list[Row]:
        return self._rows["variables"]

    @property
    def secrets(self) -> list[Row]:
        return self._rows["secrets"]

    @property
    def tags(self) -> list[Row]:
        return self._rows["tags"]

    def config(self) -> dict[str, Any]:
        """Return the configuration; values that are no numbers stay as they were typed."""
        given = {name: str(self.data.get(name, "")).strip() for name in self.fields}
        config: dict[str, Any] = {name: given[name] for name in TEXTS if given[name]}
        if given["pip_requirements_file"]:
            config["pip_requirements_file"] = given["pip_requirements_file"]
        config["pip_packages"] = given["pip_packages"].splitlines()
        config["conda_packages"] = given["conda_packages"].splitlines()
        config |= {name: given[name] for name in CONTAINER_ONLY_FIELDS if given[name]}
        if given["image_username"] or given["image_password"]:
            config["image_registry_details"] = {
                "username": given["image_username"],
                "password": given["image_password"],
            }
        config |= {name: _decimal(given[name]) for name in NUMBERS if given[name]}
        if given["priority"]:
            config["priority"] = _whole(given["priority"])
        for name in ("max_restarts", "resume_from"):
            if given[name]:
                config[name] = _whole(given[name])
        if given["restart_on"]:
            config["restart_on"] = given["restart_on"]
        if given["gpus_per_process"]:
            gpus = _whole(given["gpus_per_process"])
            config["gpus_per_process"] = gpus
            config["use_gpu"] = gpus != 0
        if given["max_hours"] or given["max_minutes"]:
            config["max_run_duration_seconds"] = _seconds(given["max_hours"], given["max_minutes"])
        if given["mode"] == Mode.MPI and given["node_count"]:
            config["node_count"] = _whole(given["node_count"])
        distribution = _distribution_from(given)
        if distribution:
            config["distributed_training"] = distribution
        config["script_params"] = {row.name: _value_of(row) for row in self.params if row.name}
        config["environment_variables"] = {
            row.name: row.value for row in self.variables if row.name
        }
        config["secrets"] = {
            row.name: {"secret": row.value, "file": row.file} for row in self.secrets if row.name
        }
        config["tags"] = {row.name: row.value for row in self.tags if row.name}
        return config

    def row_errors(self) -> list[FieldError]:
        """Return errors that a configuration cannot have: rows without a name, or with the same."""
        errors = []
        for kind, rows in ((field, self._rows[name]) for field, name in ROWS.items()):
            seen: set[str] = set()
            for row in rows:
                if not row.name and row.value:
                    errors.append(FieldError(f"{kind}.", "Enter a name for this value."))
                if row.name and row.name in seen:
                    errors.append(FieldError(f"{kind}.{row.name}", "This name is used twice."))
                seen.add(row.name)
        return errors

    def show_errors(self, errors: Iterable[FieldError]) -> None:
        """Show every error beside the field it names, or above the form."""
        self.full_clean()
        for error in errors:
            kind, dot, name = error.field.partition(".")
            rows = ROWS.get(kind)
            if rows == "secrets":
                name = name.partition(".")[0]
            field = FORM_FIELD_OF.get(error.field, error.field)
            if rows and dot:
                self._rows[rows] = [_with_error(row, name, error) for row in self._rows[rows]]
            elif field in self.fields:
                self.add_error(field, error.message)
            else:
                self.add_error(
                    None, f"{error.field}: {error.message}" if error.field else error.message
                )


def _with_error(row: Row, name: str, error: FieldError) -> Row:
    is_meant = row.name == name and (name or row.value) and not row.error
    return replace(row, error=error.message) if is_meant else row


def _rows_from(data: QueryDict, kind: str) -> list[Row]:
    names, values = data.getlist(f"{kind}_name"), data.getlist(f"{kind}_value")
    kinds = data.getlist(f"{kind}_kind")
    kinds += ["text"] * (len(names) - len(kinds))
    files = data.getlist(f"{kind}_file")
    files += [""] * (len(names) - len(files))
    rows = [
        Row(name.strip(), value, "list" if how == "list" else "text", file=file.strip())
        for name, value, how, file in zip(names, values, kinds, files, strict=False)
    ]
    return [row for row in rows if row.name or row.value]


def _value_of(row: Row) -> Any:
    if row.kind == "list":
        try:
            value = load_json(row.value)
        except (ValueError, RecursionError):
            return row.value
        return value if isinstance(value, list) else row.value
    return row.value


def _whole(text: str) -> int | float | str:
    try:
        return int(text)
    except ValueError:
        return _decimal(text)


def _decimal(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _seconds(hours: str, minutes: str) -> int | float | str:
    total = 0.0
    for text, seconds in ((hours, 3600), (minutes, 60)):
        value = _decimal(text or "0")
        if isinstance(value, str):
            return value
        total += value * seconds
    return int(total) if total == total // 1 else total


def _distribution_from(given: Mapping[str, str]) -> dict[str, Any] | None:
    mode = given["mode"] or Mode.SINGLE.value
    if mode == Mode.SINGLE:
        return None
    distribution: dict[str, Any] = {"type": mode}
    if mode == Mode.MPI:
        if given["process_count_per_node"]:
            distribution["process_count_per_node"] = _whole(given["process_count_per_node"])
        return distribution
    if given["worker_count"]:
        distribution["worker_count"] = _whole(given["worker_count"])
    if mode == Mode.PARAMETER_SERVER:
        if given["parameter_server_count"]:
            distribution["parameter_server_count"] = _whole(given["parameter_server_count"])
        distribution |= CLUSTER_LAYOUTS.get(given["cluster_layout"], CLUSTER_LAYOUTS["workers"])[1]
    return distribution


def initial_of(config: RunConfig) -> dict[str, Any]:
    """Return the form's values for a configuration, to submit it again."""
    seconds = config.max_run_duration_seconds
    distribution = config.distributed_training
    return {
        "experiment": config.experiment,
        "entry_script": config.entry_script,
        "name": config.name,
        "description": config.description,
        "compute_target": config.compute_target,
        "framework_version": config.framework_version,
        "mode": config.mode.value,
        "cluster_layout": _cluster_layout_of(distribution),
        "worker_count": distribution.worker_count,
        "parameter_server_count": distribution.parameter_server_count or 1,
        "node_count": config.node_count,
        "process_count_per_node": distribution.process_count_per_node,
        "cpus_per_process": _plain(config.cpus_per_process),
        "memory_gb": _plain(config.memory_gb),
        "gpus_per_process": config.gpus_per_process or "",
        "pip_packages": "\n".join(config.pip_packages),
        "pip_requirements_file": config.pip_requirements_file,
        "conda_packages": "\n".join(config.conda_packages),
        **{name: getattr(config, name) for name in CONTAINER_ONLY_FIELDS},
        "max_hours": "" if seconds is None else seconds // 3600,
        "max_minutes": "" if seconds is None else _plain(seconds % 3600 / 60),
        "max_restarts": config.max_restarts or "",
        "restart_on": config.restart_on.value,
        "resume_from": config.resume_from or "",
        "priority": "" if config.priority is None else config.priority,
        "tags": [Row(name, value) for name, value in config.tags.items()],
        "params": [_row_of(name, value) for name, value in config.script_params.items()],
        "variables": [Row(name, value) for name, value in config.environment_variables.items()],
        "secrets": [
            Row(name, reference.secret, file=reference.file)
            for name, reference in config.secrets.items()
        ],
    }


def _cluster_layout_of(distribution: Distribution) -> str:
    if distribution.evaluator:
        return "estimator"
    return "chief" if distribution.chief else "workers"


def _row_of(name: str, value: object) -> Row:
    if isinstance(value, list):
        return Row(name, json.dumps(value, ensure_ascii=False), "list")
    return Row(name, "" if value is None else str(value))


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
