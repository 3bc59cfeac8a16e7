"""What people get at the tracking URI: the page that its links lead to, and what runs there."""

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from models.mlflow.ids import default_experiment
from models.mlflow.requests import MlflowRequest
from models.mlflow.transport import Caller
from workspace.accounts.selectors import team_for
from workspace.platform.requests import SignedInRequest

# The newest version whose protocol is known here; clients do not ask for it.
VERSION = "3.18.0"


@require_safe
def links(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show how to log to a team; the page's script follows the links that clients print."""
    team = team_for(request.user, slug)
    context = {
        "default_experiment": default_experiment(team),
        "tracking_uri": request.build_absolute_uri(request.path.rstrip("/")),
    }
    return render(request, "models/mlflow.html", context)


@require_safe
@login_not_required
def version(request: HttpRequest, slug: str) -> HttpResponse:
    return HttpResponse(VERSION, content_type="text/plain")


@require_safe
@login_not_required
def health(request: HttpRequest, slug: str) -> HttpResponse:
    return HttpResponse("OK", content_type="text/plain")


def server_info(caller: Caller, given: MlflowRequest) -> dict[str, Any]:
    """Return what newer clients ask before they send or fetch files."""
    return {
        "store_type": "trainyard",
        "workspaces_enabled": False,
        "multipart_uploads_enabled": False,
        "multipart_downloads_enabled": False,
    }
