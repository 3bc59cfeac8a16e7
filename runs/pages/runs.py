"""The pages of a run: its tabs."""

import json
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from runs import selectors, services
from runs.config import RunConfig
from runs.events import event_data
from runs.files import store as files
from runs.lifecycle import phases_of
from runs.logs.sources import earlier_attempt_log, ranks_of
from runs.metrics.series_limits import left_out_of
from runs.models import Run
from runs.pages import presentation
from runs.pages.empty_metrics import empty_metrics
from runs.pages.run_change_form import RunChangeForm
from runs.source.snapshots import manifest_of, shown_file
from runs.states import RunStatus
from runs.supervision.hang_detection import last_lines
from runs.supervision.idle_processes import WAIT_REMEDY, idle_processes
from workspace.accounts.selectors import may, team_for
from workspace.models import Role
from workspace.platform.errors import Conflict, NotFound
from workspace.platform.requests import SignedInRequest, is_whole_number

IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")
TRACKED_TABS = ("metrics", "outputs", "configuration", "children", "timeline")
TABS = {
    "logs": "terminal",
    "metrics": "chart",
    "usage": "gauge",
    "outputs": "folder",
    "configuration": "settings",
    "code": "code",
    "children": "layers",
    "timeline": "timeline",
}


@require_GET
def run_logs(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    run = _run(request, slug, number)
    if run.is_tracked:
        return redirect("runs:metrics", slug=slug, number=number)
    processes = [process.name for process in selectors.processes_of_run(run)]
    names = [*processes, *(ranks_of(run) if processes else [])]
    sources = ["build", *names, *(["merged"] if len(processes) > 1 else [])]
    selected = _first_log(run, names)
    attempts = run.attempts.count()
    attempt = _former_attempt(request, attempts) or attempts
    if attempt < attempts:
        sources = [earlier_attempt_log(attempt, name) for name in names]
        selected = sources[0]
    return _tab(
        request,
        run,
        "logs",
        {
            "sources": sources,
            "selected": selected,
            "attempts": range(1, attempts + 1) if attempts > 1 else (),
            "attempt": attempt,
            "is_former": attempt < attempts,
        },
    )


@require_GET
def run_metrics(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    run = _run(request, slug, number)
    context = {"left_out": left_out_of(run), "empty": empty_metrics(run)}
    return _tab(request, run, "metrics", context)


@require_GET
def run_usage(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    return _tab(request, _run_with_processes(request, slug, number), "usage", {})


@require_GET
def run_outputs(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    run = _run(request, slug, number)
    stored = files.files_of(run)
    picked = request.GET.get("path", "")
    context: dict[str, Any] = {
        "tree": presentation.tree_of((file.path, file.size) for file in stored),
        "file_count": len(stored),
        "total_bytes": sum(file.size for file in stored),
        "picked": picked,
        "is_image": picked.lower().endswith(IMAGES),
        "register": f"/t/{slug}/models/register/?run={number}",
    }
    if picked and not context["is_image"]:
        context["shown"] = files.preview_of(files.file_of(run, picked))
    return _tab(request, run, "outputs", context)


@require_GET
def run_configuration(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    run = _run(request, slug, number)
    return configuration_page(request, run, RunChangeForm.of(run))


def configuration_page(request: SignedInRequest, run: Run, form: RunChangeForm) -> HttpResponse:
    """Show a run's configuration, and what people say of it."""
    if run.is_tracked:
        return _tab(request, run, "configuration", {"change_form": form})
    config = RunConfig.from_row(run.config)
    if not may(request.user, run.team, Role.MEMBER):
        config = config.for_viewers()
    return _tab(
        request,
        run,
        "configuration",
        {
            "change_form": form,
            "config": config,
            "config_json": json.dumps(config.to_json(), indent=2, ensure_ascii=False),
            "rows": presentation.configuration_rows(config),
        },
    )


@require_GET
def run_code(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    run = _run_with_processes(request, slug, number)
    entries = manifest_of(run.source).entries
    path = request.GET.get("path") or str(run.config["entry_script"])
    context = {
        "tree": presentation.tree_of((entry.path, entry.size) for entry in entries),
        "shown": shown_file(run.source, path),
    }
    return _tab(request, run, "code", context)


@require_GET
def run_children(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    run = _run(request, slug, number)
    children = selectors.runs_of(run.team).filter(parent=run)
    page, cursor = selectors.page_after(children, request.GET.get("cursor", ""))
    now = timezone.now()
    context = {
        "children": [(child, presentation.length_of(child, now)) for child in page],
        "older": f"?{urlencode({'cursor': cursor})}" if cursor else "",
        "newest": "?" if request.GET.get("cursor") else "",
    }
    return _tab(request, run, "children", context)


@require_GET
def run_timeline(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    run = _run(request, slug, number)
    events = [
        (event, presentation.event_text(event_data(event)))
        for event in selectors.events_after(run, 0)
    ]
    return _tab(request, run, "timeline", {"events": events})


@require_GET
def run_head(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Return the part above the tabs anew; the page asks for it when something happened."""
    run = _run(request, slug, number)
    return render(request, "runs/_run_head.html", _head_context(run))


@require_GET
def run_idle(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Return anew what the head says of idle processes, which no event tells of."""
    run = _run(request, slug, number)
    return render(request, "runs/_idle_processes.html", _idle_context(run))


@require_POST
def cancel(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    run = selectors.run_of(team_for(request.user, slug, Role.MEMBER), number)
    try:
        services.request_cancel(run, by=request.user)
    except Conflict as conflict:
        messages.info(request, conflict.message)
    else:
        how = "Killing" if run.kill_requested_at else "Canceling"
        messages.success(request, f"{how} run {number}. Its outputs so far are kept.")
    return redirect("runs:logs", slug=slug, number=number)


def _run(request: SignedInRequest, slug: str, number: int) -> Run:
    return selectors.run_of(team_for(request.user, slug), number)


def _run_with_processes(request: SignedInRequest, slug: str, number: int) -> Run:
    run = _run(request, slug, number)
    if run.is_tracked:
        raise NotFound(f"Run {number} is tracked: it has no processes and no source.")
    return run


def _tab(request: SignedInRequest, run: Run, tab: str, context: dict[str, Any]) -> HttpResponse:
    return render(
        request,
        f"runs/run_{tab}.html",
        {
            **_head_context(run),
            "tab": tab,
            "tabs": {name: TABS[name] for name in TRACKED_TABS} if run.is_tracked else TABS,
            "api_base": f"/api/v1/teams/{run.team.slug}/runs/{run.number}/",
            "stream": f"/ws/teams/{run.team.slug}/runs/{run.number}/",
            **context,
        },
    )


def _head_context(run: Run) -> dict[str, Any]:
    now = timezone.now()
    phases = presentation.phases(phases_of(run, now), is_tracked=run.is_tracked)
    return {
        "team": run.team,
        "run": run,
        "now": now,
        "mode": presentation.mode_text(run),
        "parent": selectors.parent_of(run),
        "phases": phases,
        "waiting": run.wait_reason or presentation.STATUS_HINTS.get(RunStatus(run.status), ""),
        "ending": presentation.failure_of(run),
        "still_lines": _last_lines(run),
        **_idle_context(run),
        "has_outputs": run.is_over and run.files.exists(),
        "has_model": run.is_over and files.has_model(run),
        "processes": [
            (process, *presentation.state_of(process, run))
            for process in selectors.processes_of_run(run)
        ],
    }


def _idle_context(run: Run) -> dict[str, Any]:
    found = idle_processes(run)
    return {
        "team": run.team,
        "run": run,
        "idle": [(process, presentation.plain_line(process.last_line)) for process in found],
        "is_idle": any(not process.waits_for for process in found),
        "waiting_in_vain": [process.waits_for for process in found if process.waits_for],
        "wait_remedy": WAIT_REMEDY,
    }


def _last_lines(run: Run) -> list[tuple[str, str]]:
    """Return the last line of each process of a run that makes no progress."""
    if run.hung_since is None or run.is_over:
        return []
    return [(name, presentation.plain_line(line)) for name, line in last_lines(run)]


def _former_attempt(request: SignedInRequest, attempts: int) -> int:
    """Read which attempt of a run is asked for; 0 for the latest or one that there is not."""
    asked = request.GET.get("attempt", "")
    number = int(asked) if is_whole_number(asked, max_digits=5) else 0
    return number if number < attempts else 0


def _first_log(run: Run, processes: list[str]) -> str:
    """Choose the log to open: the one at fault, else the deciding process, else the build's."""
    at_fault = run.end_detail.get("process")
    if at_fault in processes:
        return str(at_fault)
    return processes[0] if processes else "build"
