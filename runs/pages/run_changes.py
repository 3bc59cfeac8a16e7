"""What people change of a run on its pages: its name and tags, or that it is listed, or there."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from runs import selectors, services
from runs.models import Run
from runs.pages.run_change_form import RunChangeForm
from runs.pages.runs import configuration_page
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.errors import Conflict, Invalid
from workspace.platform.forms import add_domain_errors
from workspace.platform.requests import SignedInRequest
from workspace.platform.validation import validate


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


def _run(request: SignedInRequest, slug: str, number: int) -> Run:
    return selectors.run_of(team_for(request.user, slug, Role.MEMBER), number)
