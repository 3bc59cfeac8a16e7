"""The page Storage: what uses the disk, and which runs to delete to free it."""

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Sum
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from deploy.models import StorageReport
from deploy.storage.measurement import disk_space, request_measurement
from deploy.storage.run_cleanup import RunSelection, delete_selected
from runs.models import Run
from workspace.accounts.selectors import team_for
from workspace.models import Environment, Role, Team
from workspace.platform.forms import UnsuffixedForm
from workspace.platform.requests import SignedInRequest
from workspace.sizes import MEGABYTE

SHOWN = 10


class RunSelectionForm(UnsuffixedForm):
    """Which runs to delete, in the units that people think in."""

    experiment = forms.CharField(required=False, max_length=200)
    author = forms.CharField(label="Person", required=False, max_length=150)
    older_than_days = forms.IntegerField(
        label="Ended more than … days ago", required=False, min_value=0, max_value=100_000
    )
    larger_than_mb = forms.IntegerField(
        label="Larger than (MB)", required=False, min_value=0, max_value=10**9
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and self.selection().is_empty:
            raise forms.ValidationError(
                "Fill in at least one field: all that you fill in must hold."
            )
        return cleaned

    def selection(self) -> RunSelection:
        cleaned = self.cleaned_data
        megabytes = cleaned["larger_than_mb"]
        return RunSelection(
            experiment=cleaned["experiment"],
            author=cleaned["author"],
            older_than_days=cleaned["older_than_days"],
            larger_than_bytes=None if megabytes is None else megabytes * MEGABYTE,
        )


@require_http_methods(["GET", "HEAD", "POST"])
def storage(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show what uses the disk, with the runs that a selection would delete; POST deletes them."""
    is_change = request.method == "POST"
    team = team_for(request.user, slug, Role.MEMBER if is_change else Role.VIEWER)
    form = RunSelectionForm(request.POST if is_change else request.GET or None)
    is_selected = form.is_bound and form.is_valid()
    if is_change and is_selected:
        count = delete_selected(team, form.selection(), by=request.user)
        messages.success(request, f"Deleted {count:,} run{'' if count == 1 else 's'}.")
        return redirect("deploy:storage", slug)
    environments = Environment.objects.aggregate(total=Sum("size_bytes"))["total"] or 0
    disk = disk_space()
    context = {
        "report": StorageReport.objects.filter(team=team).first(),
        "environment_bytes": environments,
        "disk": disk,
        "disk_used_percent": round(100 * (disk.total - disk.free) / disk.total),
        "largest": _largest(team),
        "form": form,
        "found": _summary(form.selection(), team) if is_selected else None,
    }
    return render(
        request,
        "deploy/storage.html",
        context,
        status=422 if form.is_bound and not is_selected else 200,
    )


@require_POST
def measure(request: SignedInRequest, slug: str) -> HttpResponse:
    request_measurement(team_for(request.user, slug, Role.MEMBER))
    messages.success(request, "The disk is being measured. Reload the page in a moment.")
    return redirect("deploy:storage", slug)


def _largest(team: Team) -> list[Run]:
    runs = Run.objects.filter(team=team, deleted_at=None, stored_bytes__gt=0)
    found = runs.select_related("experiment", "created_by", "team")
    return list(found.order_by("-stored_bytes", "number")[:SHOWN])


def _summary(selection: RunSelection, team: Team) -> dict[str, Any]:
    runs = selection.runs(team)
    return {
        "count": runs.count(),
        "bytes": runs.aggregate(total=Sum("stored_bytes"))["total"] or 0,
        "first": list(runs[:SHOWN]),
    }
