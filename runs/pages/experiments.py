"""The pages of experiments: the list, and an experiment with its best and newest runs."""

from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from runs import experiments
from runs.experiments import ExperimentChange, MetricGoal
from runs.pages.presentation import length_of
from runs.selectors import page_after
from workspace.accounts.selectors import team_for
from workspace.models import Experiment, Role
from workspace.platform.errors import Invalid
from workspace.platform.forms import UnsuffixedForm, add_domain_errors
from workspace.platform.requests import SignedInRequest
from workspace.platform.validation import validate


class ExperimentChangeForm(UnsuffixedForm):
    """What people say of an experiment."""

    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))


@require_safe
def experiment_list(request: SignedInRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    asked, error = request.GET.get("cursor", ""), ""
    try:
        page, cursor = experiments.experiments_after(team, asked)
    except Invalid as invalid:
        page, cursor, error = [], "", invalid.message
    context = {
        "page": page,
        "error": error,
        "newest": request.path if asked else "",
        "older": f"?{urlencode({'cursor': cursor})}" if cursor else "",
    }
    return render(request, "runs/experiment_list.html", context)


@require_safe
def experiment(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    found = experiments.experiment_of(team_for(request.user, slug), pk=pk)
    form = ExperimentChangeForm(initial={"description": found.description})
    return _experiment_page(request, found, form)


@require_POST
def change(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    found = experiments.experiment_of(team_for(request.user, slug, Role.MEMBER), pk=pk)
    form = ExperimentChangeForm(request.POST)
    if form.is_valid():
        try:
            changed = validate(ExperimentChange, form.cleaned_data)
            experiments.change_experiment(experiment=found, by=request.user, change=changed)
        except Invalid as error:
            add_domain_errors(form, error)
        else:
            messages.success(request, f"Saved {found.name}.")
            return redirect("runs:experiment", slug, pk)
    response = _experiment_page(request, found, form)
    response.status_code = 422
    return response


def _experiment_page(
    request: SignedInRequest, found: Experiment, form: ExperimentChangeForm
) -> HttpResponse:
    metric = request.GET.get("metric", "")
    asked, error = request.GET.get("cursor", ""), ""
    goal = (
        MetricGoal.HIGHEST if request.GET.get("goal") == MetricGoal.HIGHEST else MetricGoal.LOWEST
    )
    runs = experiments.listed_runs(found)
    if metric:
        runs = experiments.with_metric(runs, metric, goal)
    try:
        page, cursor = page_after(runs, asked)
    except Invalid as invalid:
        page, cursor, error = [], "", invalid.message
    names = experiments.metric_names(page)
    chosen = {"metric": metric, "goal": goal.value} if metric else {}
    now = timezone.now()
    context = {
        "experiment": found,
        "change_form": form,
        "metric": metric,
        "metrics": names if not metric or metric in names else [metric, *names],
        "goal": goal,
        "goals": list(MetricGoal),
        "best": experiments.best_run(found, metric, goal) if metric else None,
        "rows": [{"run": run, "seconds": length_of(run, now)} for run in page],
        "error": error,
        "newest": f"{request.path}?{urlencode(chosen)}" if asked else "",
        "older": f"?{urlencode(chosen | {'cursor': cursor})}" if cursor else "",
    }
    return render(request, "runs/experiment.html", context)
