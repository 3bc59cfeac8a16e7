"""What every page knows of the team that its address names."""

from typing import Any

from django.http import HttpRequest

from workspace.selectors import memberships_of


def current_team(request: HttpRequest) -> dict[str, Any]:
    """Give `team` and the caller's `membership` of it, for the navigation and role checks."""
    slug = request.resolver_match.kwargs.get("slug") if request.resolver_match else None
    user = getattr(request, "user", None)
    if slug is None or user is None:
        return {}
    found = memberships_of(user).filter(team__slug=slug).first()
    return {"team": found.team, "membership": found} if found else {}
