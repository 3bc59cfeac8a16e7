"""What people change of a run on its pages: its name and tags, or that it is listed, or there."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from runs import selectors, services
from runs.models import Run
from runs.pages.run_change_form import RunChangeForm
from runs.pages.runs import configuration_page
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.errors import Conflict, Invalid
from workspace.platform.forms import add_domain_errors
from workspace.platform.requests import SignedInRequest, is_whole_number
from workspace.platform.validation import validate
from workspace.tags import tags_in


@require_POST
def change(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    run = _run(request, slug, number)
    form = RunChangeForm(request.POST)
    if form.is_valid():
        try:
            changed = validate(services.RunChange, form.data_for_change(run))
            services.change_run(run=run, by=request.user, change=changed)
        except Invalid as error:
            add_domain_errors(form, error)
        else:
            messages.success(request, f"Saved run {number}.")
            return redirect("runs:configuration", slug, number)
    response = configuration_page(request, run, form)
    response.status_code = 422
    return response


@require_POST
def archive(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Archive a run, or list it again."""
    is_archived = request.POST.get("archived") == "true"
    change = services.RunChange(archived=is_archived)
    services.change_run(run=_run(request, slug, number), by=request.user, change=change)
    said = "is archived: lists leave it out." if is_archived else "is listed again."
    messages.success(request, f"Run {number} {said}")
    return redirect("runs:configuration", slug, number)


@require_POST
def delete(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    try:
        services.delete_run(_run(request, slug, number), by=request.user)
    except Conflict as conflict:
        messages.error(request, conflict.message)
        return redirect("runs:configuration", slug, number)
    messages.success(request, f"Deleted run {number}.")
    return redirect("runs:list", slug)


@require_POST
def change_many(request: SignedInRequest, slug: str) -> HttpResponse:
    """Do the same to all runs that were selected in a list; what one refuses harms no other."""
    team = team_for(request.user, slug, Role.MEMBER)
    chosen = [text for text in request.POST.getlist("run") if is_whole_number(text)]
    runs = selectors.runs_of(team).filter(number__in=list(map(int, chosen[: selectors.PAGE])))
    try:
        words, act = _action(request)
        done = [run.number for run in runs if _is_done(request, run, act)]
    except Invalid as error:
        messages.error(request, error.message)
    else:
        if done:
            messages.success(request, f"{words} {', '.join(f'#{number}' for number in done)}.")
    query = request.POST.get("query", "")
    return redirect(f"{reverse('runs:list', args=[slug])}?{query}")


def _action(request: SignedInRequest) -> tuple[str, Callable[[Run], object]]:
    """Return what is asked for, in words and as what does it. Raises Invalid."""
    by, action = request.user, request.POST.get("action", "")
    if action == "cancel":
        return "Canceling", lambda run: services.request_cancel(run, by=by)
    if action == "delete":
        return "Deleted", lambda run: services.delete_run(run, by=by)
    given: dict[str, Any]
    if action == "tag":
        words, given = "Tagged", {"tags": tags_in(request.POST.get("tag", ""))}
        if not given["tags"]:
            raise Invalid("Enter a tag, as name: value.")
    elif action == "archive":
        words, given = "Archived", {"archived": True}
    else:
        raise Invalid("Choose what to do with the selected runs.")
    change = validate(services.RunChange, given)
    return words, lambda run: services.change_run(run=run, by=by, change=change)


def _is_done(request: SignedInRequest, run: Run, act: Callable[[Run], object]) -> bool:
    try:
        act(run)
    except Conflict as conflict:
        messages.error(request, conflict.message)
        return False
    return True


def _run(request: SignedInRequest, slug: str, number: int) -> Run:
    return selectors.run_of(team_for(request.user, slug, Role.MEMBER), number)
