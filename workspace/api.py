"""The workspace over REST: teams and compute targets."""

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema

from workspace.selectors import memberships_of

router = Router(tags=["workspace"])


class TeamOut(Schema):
    slug: str
    name: str
    role: str


@router.get("teams", response=list[TeamOut], summary="The caller's teams")
def list_teams(request: HttpRequest) -> list[dict[str, Any]]:
    return [
        {"slug": entry.team.slug, "name": entry.team.name, "role": entry.role}
        for entry in memberships_of(request.auth)  # type: ignore[attr-defined]
    ]
