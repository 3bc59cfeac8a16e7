"""What every page knows of the team that its address names, or that was looked at before."""

from typing import Any

from django.http import HttpRequest

from workspace.accounts.selectors import memberships_of

LAST_TEAM = "last_team"


def current_team(request: HttpRequest) -> dict[str, Any]:
    """Return `team` and the caller's `membership` of it, for the navigation and role checks."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    slug = request.resolver_match.kwargs.get("slug") if request.resolver_match else None
    wanted = slug or request.session.get(LAST_TEAM)
    found = memberships_of(user).filter(team__slug=wanted).first() if wanted else None
    if found is None and slug is None:
        found = memberships_of(user).first()
    if found is None:
        return {}
    if slug and request.session.get(LAST_TEAM) != slug:
        request.session[LAST_TEAM] = slug
    return {"team": found.team, "membership": found}
