"""The tab of a service's revisions, and what people do with them."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from deploy import selectors, steering
from deploy.configuration import read_change, read_revision
from deploy.models import ReplicaState, Service
from deploy.revisions import standing_of
from deploy.rollout import shares
from deploy.views import tab
from workspace.errors import DomainError
from workspace.models import Role
from workspace.requests import SignedInRequest
from workspace.selectors import team_for

ON_A_PAGE = 20
MOST_SHARING = 10


@require_safe
def history(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """List the revisions and the replicas that ended, a page of each."""
    service = selectors.service_of(team_for(request.user, slug), name)
    revisions, older = _page(request, "before", selectors.counted(selectors.revisions_of(service)))
    ended, older_ended = _page(
        request, "ended", selectors.replicas_of(service).filter(state=ReplicaState.ENDED)
    )
    newest = list(selectors.counted(selectors.revisions_of(service))[:MOST_SHARING])
    asked = shares([standing_of(one, one.ready) for one in newest if one.ready])
    return tab(
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
    service = _of_member(request, slug, name)
    sent = request.POST.get("revision", "")
    number = read_revision({"revision": int(sent)} if sent.isdigit() and len(sent) < 9 else {})
    try:
        made = steering.roll_back(service=service, by=request.user, number=number)
    except DomainError as error:
        _say(request, error)
    else:
        messages.success(request, f"{service} goes back to {made.model_version}.")
    return redirect("deploy:history", slug, name)


@require_POST
def share(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Share the requests as the form says; without percentages all go to the newest revision."""
    traffic = {
        field.removeprefix("share-"): _whole(text)
        for field, text in request.POST.items()
        if field.startswith("share-") and str(text).strip() not in ("", "0")
    }
    return _change(request, slug, name, {"traffic": traffic or None}, "The requests are shared.")


@require_POST
def shadow(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    """Send copies of the requests to a revision, or to none."""
    sent = request.POST.get("shadow", "")
    words = f"Copies of the requests go to revision {sent}." if sent else "No copies are sent."
    return _change(request, slug, name, {"shadow": _whole(sent) if sent else None}, words)


def _change(
    request: SignedInRequest, slug: str, name: str, body: dict[str, Any], words: str
) -> HttpResponse:
    service = _of_member(request, slug, name)
    try:
        wish = read_change(body)
        steering.change(service=service, by=request.user, wish=wish, version=None)
    except DomainError as error:
        _say(request, error)
    else:
        messages.success(request, words)
    return redirect("deploy:history", slug, name)


def _page(request: SignedInRequest, name: str, found: Any) -> tuple[list[Any], str]:
    """Give a page of rows that have numbers, and the address of the one after it."""
    before = request.GET.get(name, "")
    if before.isascii() and before.isdigit() and len(before) < 10:
        found = found.filter(number__lt=int(before))
    rows = list(found[: ON_A_PAGE + 1])
    page = rows[:ON_A_PAGE]
    return page, f"?{urlencode({name: page[-1].number})}" if len(rows) > len(page) else ""


def _whole(text: object) -> object:
    words = str(text).strip()
    return int(words) if words.isascii() and words.isdigit() and len(words) < 10 else words


def _say(request: SignedInRequest, error: DomainError) -> None:
    messages.error(request, " ".join(one.message for one in error.errors) or error.message)


def _of_member(request: SignedInRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.user, slug, Role.MEMBER), name)
