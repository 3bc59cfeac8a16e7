"""The tab of a service's revisions, and what people do with them."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from deploy import selectors
from deploy.config import ServiceChange
from deploy.models import ReplicaState
from deploy.pages.lookup import editable_service, visible_service
from deploy.pages.service import render_tab
from deploy.rollout import traffic_policy
from deploy.rollout.plan import traffic_split
from deploy.rollout.revisions import revision_view
from workspace.platform.errors import DomainError
from workspace.platform.requests import SignedInRequest, is_whole_number
from workspace.platform.validation import validate

ON_A_PAGE = 20
MAX_SPLIT_REVISIONS = 10


@require_safe
def history(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """List the revisions and the replicas that ended, a page of each."""
    service = visible_service(request, slug, name)
    revisions, older = _page(request, "before", selectors.counted(selectors.revisions_of(service)))
    ended, older_ended = _page(
        request, "ended", selectors.replicas_of(service).filter(state=ReplicaState.ENDED)
    )
    newest = list(selectors.counted(selectors.revisions_of(service))[:MAX_SPLIT_REVISIONS])
    asked = traffic_split([revision_view(one, one.ready) for one in newest if one.ready])
    return render_tab(
        request,
        service,
        "history",
        {
            "revisions": [(one, asked.get(one.pk)) for one in revisions],
            "sharing": [(one, asked.get(one.pk, 0)) for one in newest],
            "is_split": any(one.weight is not None for one in newest),
            "shadow": next((one for one in newest if one.is_shadow), None),
            "older": older,
            "newer": request.path if "before" in request.GET else "",
            "ended": ended,
            "older_ended": older_ended,
            "newer_ended": request.path if "ended" in request.GET else "",
        },
    )


@require_POST
def roll_back(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    service = editable_service(request, slug, name)
    sent = request.POST.get("revision", "")
    number = int(sent) if is_whole_number(sent, max_digits=8) else None
    try:
        made = traffic_policy.roll_back(service=service, by=request.user, number=number)
    except DomainError as error:
        _flash_error(request, error)
    else:
        messages.success(request, f"{service} rolls back to {made.model_version}.")
    return redirect("deploy:history", slug, name)


@require_POST
def split(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Share the requests as the form says; without percentages all go to the newest revision."""
    traffic = {
        field.removeprefix("share-"): _whole(text)
        for field, text in request.POST.items()
        if field.startswith("share-") and str(text).strip() not in ("", "0")
    }
    return _change(request, slug, name, {"traffic": traffic or None}, "Saved the traffic split.")


@require_POST
def shadow(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Send copies of the requests to a revision, or to none."""
    sent = request.POST.get("shadow", "")
    words = f"Revision {sent} is the shadow." if sent else "Shadow turned off."
    return _change(request, slug, name, {"shadow": _whole(sent) if sent else None}, words)


def _change(
    request: SignedInRequest, slug: str, name: str, body: dict[str, Any], words: str
) -> HttpResponse:
    service = editable_service(request, slug, name)
    try:
        change = validate(ServiceChange, body)
        traffic_policy.apply_change(service=service, by=request.user, change=change, version=None)
    except DomainError as error:
        _flash_error(request, error)
    else:
        messages.success(request, words)
    return redirect("deploy:history", slug, name)


def _page(request: SignedInRequest, name: str, found: Any) -> tuple[list[Any], str]:
    """Return a page of rows that have numbers, and the address of the one after it."""
    before = request.GET.get(name, "")
    if is_whole_number(before):
        found = found.filter(number__lt=int(before))
    rows = list(found[: ON_A_PAGE + 1])
    page = rows[:ON_A_PAGE]
    return page, f"?{urlencode({name: page[-1].number})}" if len(rows) > len(page) else ""


def _whole(text: object) -> object:
    words = str(text).strip()
    return int(words) if is_whole_number(words) else words


def _flash_error(request: SignedInRequest, error: DomainError) -> None:
    messages.error(request, " ".join(one.message for one in error.errors) or error.message)
