"""Hold a configuration against its target, its source directory and what is known to fail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from django.contrib.auth.models import User

from runs.config import CONTAINER_FIELDS, RunConfig, parse_valid_fields
from runs.distribution import Mode
from runs.files.resume import checkpoint_warnings, resumable_run
from runs.launch.environment_spec import Files, requirements_in, spec_of
from runs.models import Snapshot
from runs.preflight import check
from runs.preflight.findings import PreflightFinding
from runs.preflight.ignored_files import way_to_include
from runs.scheduling.submit_limits import limit_errors
from runs.source import snapshots
from workspace.compute.abilities import BuildsImages, ChecksMpi
from workspace.compute.base import BackendError
from workspace.compute.environment_spec import CURATED
from workspace.models import ComputeTarget, Team
from workspace.platform.errors import FieldError, Invalid
from workspace.secrets.services import secrets_of, size_problem, unknown_secret
from workspace.targets.backends import backend_for
from workspace.targets.selectors import targets_for, use_problem
from workspace.targets.states import nodes_of

Judgement = TypeVar("Judgement", FieldError, PreflightFinding)
# Fields that name a file of the source directory, and how such files end.
SOURCE_FILES = {
    "entry_script": (".py",),
    "pip_requirements_file": (".txt",),
    "conda_dependencies_file": (".yml", ".yaml"),
}


@dataclass(frozen=True)
class CheckedSubmission:
    """Every error of a configuration, and what is expected of it otherwise."""

    errors: list[FieldError] = field(default_factory=list)
    findings: list[PreflightFinding] = field(default_factory=list)
    config: RunConfig | None = None
    target: ComputeTarget | None = None

    @property
    def accepted(self) -> tuple[RunConfig, ComputeTarget]:
        """The configuration and its target, where there is no error."""
        if self.errors or self.config is None or self.target is None:
            raise Invalid("The configuration has errors.", errors=self.errors)
        return self.config, self.target


def check_submission(
    *, team: Team, by: User, snapshot: Snapshot, config: object
) -> CheckedSubmission:
    """Find all that is wrong in one pass: an error in one field hides none of another."""
    parsed, errors = parse_valid_fields(config)
    wrong = {error.field.partition(".")[0] for error in errors}
    missing = _missing_files(snapshot, config)
    if parsed is None:
        return CheckedSubmission([*errors, *missing])
    target = targets_for(team).filter(name=parsed.compute_target).first()
    found = _all_target_errors(parsed, target, team, by)
    found += missing
    found += _secret_errors(parsed, team)
    resume_errors = _errors_of(lambda: resumable_run(team, parsed.resume_from))
    found += resume_errors
    files = snapshots.read(snapshot)
    versions = _versions_meant(parsed, wrong)
    found += _common(
        [_errors_of(partial(spec_of, each, files, each.image_login)) for each in versions]
    )
    findings = _common([_preflight(version, snapshot, files) for version in versions])
    if not resume_errors:
        findings += checkpoint_warnings(resumable_run(team, parsed.resume_from))
    errors += [error for error in found if error.field.partition(".")[0] not in wrong]
    told = {"entry_script"} & {error.field for error in errors}
    return CheckedSubmission(
        errors,
        [
            finding
            for finding in findings
            if finding.field not in wrong
            and not (finding.field in told and finding.code in check.ABOUT_ENTRY)
        ],
        parsed,
        target,
    )


def _versions_meant(config: RunConfig, wrong: set[str]) -> list[RunConfig]:
    """Return the configuration; with an unknown framework version, with each that there is.

    What is said of each of them is true whichever is meant.
    """
    if "framework_version" not in wrong:
        return [config]
    return [config.model_copy(update={"framework_version": version}) for version in CURATED]


def _common(judgements: Sequence[list[Judgement]]) -> list[Judgement]:
    first, *others = judgements
    return [each for each in first if all(each in other for other in others)]


def _errors_of(judge: Callable[[], object]) -> list[FieldError]:
    try:
        judge()
    except Invalid as invalid:
        return list(invalid.errors)
    return []


def _preflight(config: RunConfig, snapshot: Snapshot, files: Files) -> list[PreflightFinding]:
    try:
        requirements = requirements_in(config, files)
    except Invalid:
        requirements = ""
    return check.check(
        files,
        {
            "entry_script": config.entry_script,
            "framework_version": config.framework_version,
            "python_version": CURATED[config.framework_version].pythons[0],
            "mode": config.mode.value,
            "chief": config.distributed_training.chief,
            "pip_packages": list(config.pip_packages),
            "requirements": requirements,
            "environment_variables": config.environment_variables,
            "script_params": config.script_params,
            "use_gpu": config.use_gpu,
            "ignored_files": dict(snapshot.ignored_files),
        },
    )


def _all_target_errors(
    config: RunConfig, target: ComputeTarget | None, team: Team, by: User
) -> list[FieldError]:
    if target is None:
        names = ", ".join(targets_for(team).values_list("name", flat=True))
        return [FieldError("compute_target", f"No such target. This team has: {names}.")]
    problem = use_problem(target, team, by)
    errors = [FieldError("compute_target", problem)] if problem else []
    return errors + _target_errors(config, target, team)


def _secret_errors(config: RunConfig, team: Team) -> list[FieldError]:
    if not config.secrets:
        return []
    known = {secret.name: secret for secret in secrets_of(team)}
    wanted = {reference.secret for reference in config.secrets.values()}
    problem = size_problem(known[name] for name in wanted & known.keys())
    return [
        *(
            FieldError(f"secrets.{variable}.secret", unknown_secret(reference.secret, known))
            for variable, reference in config.secrets.items()
            if reference.secret not in known
        ),
        *([FieldError("secrets", problem)] if problem else []),
    ]


def _target_errors(config: RunConfig, target: ComputeTarget, team: Team) -> list[FieldError]:
    """Refuse what the target could never run, with the numbers."""
    errors = []
    backend = backend_for(target)
    if not isinstance(backend, BuildsImages):
        errors += [
            FieldError(
                name, f"Target {target.name} runs no containers: leave {name} out, or use another."
            )
            for name in CONTAINER_FIELDS
            if getattr(config, name)
        ]
    problem = backend.mpi_problem() if isinstance(backend, ChecksMpi) else ""
    if config.mode == Mode.MPI and problem:
        errors.append(FieldError("distributed_training.type", problem))
    if config.node_count > 1 and config.mode != Mode.MPI:
        errors += _too_many_nodes(config, target)
    return errors + limit_errors(config, target, team)


def _too_many_nodes(config: RunConfig, target: ComputeTarget) -> list[FieldError]:
    """Refuse more nodes than a target has; one that does not answer now may have them."""
    try:
        nodes = len(nodes_of(target))
    except BackendError:
        return []
    if config.node_count <= nodes:
        return []
    words = f"{config.node_count} nodes are requested; target {target.name} has {nodes}."
    return [FieldError("node_count", words)]


def _missing_files(snapshot: Snapshot, config: object) -> list[FieldError]:
    if not isinstance(config, Mapping):
        return []
    files = snapshots.read(snapshot)
    ignored = dict(snapshot.ignored_files)
    errors = []
    for name, ending in SOURCE_FILES.items():
        path = config.get(name)
        if not isinstance(path, str) or not path or path.removeprefix("./") in files:
            continue
        rule = ignored.get(path.removeprefix("./"))
        if rule:
            words = f"{path[:200]} is left out by {rule}. {way_to_include(rule)}"
            errors.append(FieldError(name, words))
        else:
            scripts = sorted(p for p in files if p.endswith(ending))
            offered = f" It has: {', '.join(scripts[:5])}." if scripts else ""
            errors.append(
                FieldError(name, f"{path[:200]} is not in the source directory.{offered}")
            )
    return errors
