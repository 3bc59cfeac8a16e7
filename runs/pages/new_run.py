"""The pages of a new run: bring its files, then say how to train."""

import json
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from runs.config import RunConfig
from runs.models import Run, Snapshot
from runs.pages.new_run_form import NewRunForm, initial_of
from runs.scheduling.capacity import capacity_of
from runs.scheduling.resources import Resources, resources_text
from runs.selectors import run_of, runs_of
from runs.services import SubmitPreview, preview, submit_run
from runs.source.config_file import CONFIG_FILE, config_in
from runs.source.ignore import ALWAYS
from runs.source.snapshots import manifest_of, snapshot_of
from runs.source.uploads import snapshot_from_archive
from workspace.accounts.selectors import team_for
from workspace.compute.base import BackendError
from workspace.models import ComputeTarget, Experiment, Role, Team
from workspace.platform.errors import DomainError, FieldError, Invalid, NotFound
from workspace.platform.requests import SignedInRequest, is_whole_number
from workspace.secrets.services import secrets_of
from workspace.targets.selectors import targets_for

SCRIPTS_FIRST = ("train.py", "main.py", "run.py")


@require_http_methods(["GET", "HEAD", "POST"])
def new_run(request: SignedInRequest, slug: str) -> HttpResponse:
    """Ask for the files; once there is a snapshot of them, for the configuration."""
    team = team_for(request.user, slug, Role.MEMBER)
    again = _run_again(request, team)
    if request.method == "POST":
        return _submit(request, team, again)
    digest = request.GET.get("snapshot", "")
    if digest:
        snapshot = snapshot_of(team, digest)
    elif again is not None and not request.GET.get("upload"):
        snapshot = again.source
    else:
        return _ask_for_files(request, team, again)
    initial = _initial(request, team, snapshot, again)
    form = NewRunForm(targets=_targets(team), initial=initial)
    return _ask_for_configuration(request, team, snapshot, form, again)


@require_POST
def upload_archive(request: SignedInRequest, slug: str) -> HttpResponse:
    """Take an archive from a browser without JavaScript."""
    team = team_for(request.user, slug, Role.MEMBER)
    again = _run_again(request, team)
    file = request.FILES.get("source")
    try:
        if file is None:
            raise Invalid("Choose a .zip or .tar.gz file first.")
        snapshot = snapshot_from_archive(
            team=team, by=request.user, file=file, filename=file.name or ""
        )
    except DomainError as error:
        return _ask_for_files(request, team, again, error)
    return redirect(_address(team, snapshot=snapshot.digest, **_from(again)))


@require_POST
def preview_run(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show what the form as it stands would start."""
    team = team_for(request.user, slug, Role.MEMBER)
    snapshot = snapshot_of(team, request.POST.get("snapshot", ""))
    form = NewRunForm(request.POST, targets=_targets(team))
    own = form.row_errors()
    found = preview(team=team, by=request.user, snapshot=snapshot, config=form.config())
    return render(
        request,
        "runs/_new_preview.html",
        _shown(found, [*own, *found.errors], is_forced=_is_forced(request)),
    )


def _submit(request: SignedInRequest, team: Team, again: Run | None) -> HttpResponse:
    snapshot = snapshot_of(team, request.POST.get("snapshot", ""))
    form = NewRunForm(request.POST, targets=_targets(team))
    config = form.config()
    own = form.row_errors()
    try:
        if own:
            found = preview(team=team, by=request.user, snapshot=snapshot, config=config)
            raise Invalid("The configuration has errors.", errors=[*own, *found.errors])
        run = submit_run(
            team=team,
            by=request.user,
            snapshot=snapshot,
            config=config,
            force=_is_forced(request),
            idempotency_key=request.POST.get("idempotency_key", ""),
        )
    except DomainError as error:
        found = preview(team=team, by=request.user, snapshot=snapshot, config=config)
        # A refusal of the preflight stands in the preview, with its remedy and the way around it.
        form.show_errors([*own, *found.errors] or ([] if found.refusals else _all_of(error)))
        response = _ask_for_configuration(request, team, snapshot, form, again, found)
        response.status_code = error.status if error.status != Invalid.status else 422
        return response
    messages.success(request, f"Run {run.number} was submitted.")
    return redirect("runs:logs", team.slug, run.number)


def _all_of(error: DomainError) -> list[FieldError]:
    return list(error.errors) or [FieldError("", error.message)]


def _ask_for_files(
    request: SignedInRequest, team: Team, again: Run | None, error: DomainError | None = None
) -> HttpResponse:
    return render(
        request,
        "runs/new_files.html",
        {
            "team": team,
            "again": again,
            "error": error,
            "api": f"/api/v1/teams/{team.slug}/uploads/",
            "next": _address(team, **_from(again)),
            "never_sent": list(ALWAYS),
        },
        status=200 if error is None else error.status,
    )


def _ask_for_configuration(
    request: SignedInRequest,
    team: Team,
    snapshot: Snapshot,
    form: NewRunForm,
    again: Run | None,
    found: SubmitPreview | None = None,
) -> HttpResponse:
    paths = [entry.path for entry in manifest_of(snapshot).entries]
    return render(
        request,
        "runs/new_configuration.html",
        {
            "team": team,
            "snapshot": snapshot,
            "form": form,
            "again": again,
            **_shown(found, found.errors if found else [], is_forced=_is_forced(request)),
            "idempotency_key": uuid4().hex,
            "experiments": Experiment.objects.filter(team=team, archived_at=None).order_by("name"),
            "scripts": _scripts_in(paths),
            "requirements": _requirements_in(paths),
            "capacities": _capacities(team),
            "secrets": secrets_of(team).values_list("name", flat=True),
            "other_files": _address(team, upload="1", **_from(again)),
        },
    )


def _shown(
    found: SubmitPreview | None, errors: list[FieldError], *, is_forced: bool
) -> dict[str, Any]:
    processes = found.processes if found else []
    return {
        "preview": found,
        "errors": errors,
        "force": is_forced,
        "processes": [
            {
                "name": process["name"],
                "resources": _resources_text(process),
                "mpirun": process["mpirun"],
                "tf_config": process["tf_config"] and json.dumps(process["tf_config"], indent=2),
            }
            for process in processes
        ],
    }


def _resources_text(process: dict[str, Any]) -> str:
    needs = Resources(process["cpus"] or 0.0, process["memory_bytes"] or 0, process["gpus"])
    return resources_text(needs) or "no CPU or memory limit"


def _initial(
    request: SignedInRequest, team: Team, snapshot: Snapshot, again: Run | None
) -> dict[str, Any]:
    if again is not None:
        resumes = {"resume_from": again.number} if "resume" in request.GET else {}
        return initial_of(RunConfig.from_row(again.config)) | resumes
    try:
        found = config_in(snapshot)
    except Invalid as error:
        messages.warning(request, f"{CONFIG_FILE} could not be used: {_in_words(error)}")
        found = None
    if found is not None:
        return initial_of(found)
    paths = [entry.path for entry in manifest_of(snapshot).entries]
    last = runs_of(team).filter(created_by=request.user).order_by("-number").first()
    name = request.GET.get("name", "").strip()[:100]
    return {
        "experiment": name or (last.experiment.name if last else ""),
        "entry_script": next(iter(_scripts_in(paths)), ""),
        "pip_requirements_file": next(iter(_requirements_in(paths)), ""),
        "worker_count": 2,
        "parameter_server_count": 1,
        "node_count": 1,
        "process_count_per_node": 2,
    }


def _in_words(error: Invalid) -> str:
    return " ".join(f"{entry.field}: {entry.message}" for entry in error.errors) or error.message


def _scripts_in(paths: list[str]) -> list[str]:
    """Return the Python files, the likeliest entry script first."""
    scripts = [path for path in paths if path.endswith(".py")]
    likely = {name: place for place, name in enumerate(SCRIPTS_FIRST)}
    return sorted(
        scripts,
        key=lambda path: (
            path.count("/"),
            likely.get(path.rpartition("/")[2], len(likely)),
            path,
        ),
    )


def _requirements_in(paths: list[str]) -> list[str]:
    """Return the files that look like pip requirements, the plainest first."""
    found = [
        path
        for path in paths
        if path.endswith(".txt") and "requirements" in path.rpartition("/")[2].lower()
    ]
    return sorted(found, key=lambda path: (path.count("/"), len(path), path))


def _capacities(team: Team) -> list[tuple[str, str]]:
    """Return what each target has, so that nobody has to guess what fits."""
    found = []
    for target in _targets(team):
        try:
            has = capacity_of(target)
        except BackendError as error:
            found.append((target.name, str(error)))
            continue
        found.append((target.name, resources_text(has) + ("" if has.gpus else ", no GPUs")))
    return found


def _targets(team: Team) -> list[ComputeTarget]:
    return list(targets_for(team).order_by("pk"))


def _run_again(request: SignedInRequest, team: Team) -> Run | None:
    number = request.GET.get("from", "")
    if not is_whole_number(number):
        return None
    run = run_of(team, int(number))
    if run.is_tracked:
        raise NotFound(f"Run {number} is tracked: there is no source to submit again.")
    return run


def _is_forced(request: SignedInRequest) -> bool:
    return request.POST.get("force") == "on"


def _from(again: Run | None) -> dict[str, str]:
    return {"from": str(again.number)} if again is not None else {}


def _address(team: Team, **query: str) -> str:
    page = reverse("new_run:page", args=[team.slug])
    return f"{page}?{urlencode(query)}" if query else page
