"""Make the objects that tests need, with defaults that make sense."""

import hashlib
from datetime import timedelta
from itertools import count
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from runs.config import RunConfig
from runs.models import Process, ProcessGroup, Run, Snapshot
from runs.states import ProcessState, RunStatus
from workspace.accounts.tokens import SecretKind, new_secret
from workspace.models import (
    ApiToken,
    ComputeTarget,
    Environment,
    EnvironmentState,
    Experiment,
    Membership,
    Role,
    Scope,
    Team,
)

_numbers = count(1)


def make_user(name: str = "", *, password: str | None = None) -> User:
    name = name or f"user{next(_numbers)}"
    return User.objects.create_user(name, password=password or f"{name}s-pass-phrase")


def make_team(slug: str = "", **roles: User) -> Team:
    """Make a team; `admin=`, `member=` and `viewer=` name users who join it."""
    slug = slug or f"team{next(_numbers)}"
    team = Team.objects.create(slug=slug, name=slug.capitalize())
    for role, user in roles.items():
        join(team, user, Role(role))
    return team


def join(team: Team, user: User, role: Role = Role.MEMBER) -> Membership:
    return Membership.objects.create(team=team, user=user, role=role)


def make_token(user: User, scope: Scope = Scope.ADMIN, *, days: int | None = None) -> str:
    """Make an API token and give its secret."""
    secret, digest, prefix = new_secret(SecretKind.API_TOKEN)
    ApiToken.objects.create(
        user=user,
        name="test",
        digest=digest,
        prefix=prefix,
        scope=scope,
        expires_at=None if days is None else timezone.now() + timedelta(days=days),
    )
    return secret


def bearer(user: User, scope: Scope = Scope.ADMIN) -> dict[str, str]:
    """Return the headers of an API call by a user: `client.get(url, headers=bearer(bob))`."""
    return {"Authorization": f"Bearer {make_token(user, scope)}"}


def make_target(team: Team, name: str = "local", **fields: Any) -> ComputeTarget:
    return ComputeTarget.objects.create(
        team=team,
        name=name,
        **{"kind": "local", "allow_shared": True, "is_trusted": True, **fields},
    )


def make_environment(
    state: EnvironmentState = EnvironmentState.READY, **fields: Any
) -> Environment:
    digest = hashlib.sha256(f"environment {next(_numbers)}".encode()).hexdigest()
    defaults = {
        "digest": digest,
        "kind": "local",
        "spec": {"framework_version": "2.21", "gpu": False, "packages": [], "python": "3.11"},
        "state": state,
        "reference": f"environments/{digest}" if state == EnvironmentState.READY else "",
        "built_at": timezone.now() if state == EnvironmentState.READY else None,
    }
    return Environment.objects.create(**{**defaults, **fields})


def make_snapshot(team: Team, by: User | None = None, **fields: Any) -> Snapshot:
    """Make a snapshot's row; its files exist only where a test stores them."""
    defaults = {
        "digest": hashlib.sha256(f"snapshot {next(_numbers)}".encode()).hexdigest(),
        "file_count": 1,
        "total_bytes": 20,
        "created_by": by,
    }
    return Snapshot.objects.create(team=team, **{**defaults, **fields})


def make_run(
    team: Team, by: User | None = None, status: RunStatus = RunStatus.QUEUED, **fields: Any
) -> Run:
    """Make a run, and what it needs where it is not given."""
    target = fields.get("target") or (
        ComputeTarget.objects.filter(team=team).first() or make_target(team)
    )
    experiment = (
        fields.get("experiment") or (Experiment.objects.get_or_create(team=team, name="digits")[0])
    )
    last = Run.objects.filter(team=team).order_by("-number").first()
    defaults = {
        "number": last.number + 1 if last else 1,
        "target": target,
        "experiment": experiment,
        "snapshot": fields.get("snapshot") or make_snapshot(team, by),
        "created_by": by,
        "status": status,
        "config": RunConfig(
            experiment=experiment.name, compute_target=target.name, entry_script="train.py"
        ).to_json(),
    }
    return Run.objects.create(team=team, **{**defaults, **fields})


def make_group(run: Run, *names: str, state: ProcessState = ProcessState.RUNNING) -> ProcessGroup:
    """Make an attempt of a run with processes such as worker-0 and ps-0 (one worker by default)."""
    environment = run.environment or make_environment()
    attempt = run.attempts.count() + 1
    group = ProcessGroup.objects.create(
        label=f"run-{run.pk}-{attempt}",
        team=run.team,
        target=run.compute_target,
        environment=environment,
        run=run,
        attempt=attempt,
    )
    for name in names or ("worker-0",):
        role, index = name.rsplit("-", 1)
        make_process(group, role, int(index), state=state)
    return group


def make_process(
    group: ProcessGroup,
    role: str = "worker",
    index: int = 0,
    state: ProcessState = ProcessState.RUNNING,
    **fields: Any,
) -> Process:
    """Make a process; its token is `process_token(process)`."""
    process = Process(group=group, role=role, index=index, state=state, **fields)
    process.token_digest = _token_digest(process)
    process.save()
    return process


def process_token(process: Process) -> str:
    return f"{SecretKind.PROCESS_TOKEN}_{process.group.label}_{process.name}"


def _token_digest(process: Process) -> str:
    return hashlib.sha256(process_token(process).encode()).hexdigest()
