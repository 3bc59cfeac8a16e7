"""The workspace over REST: the caller's teams."""

from typing import Any

from ninja import Router, Schema

from workspace.accounts.selectors import memberships_of
from workspace.models import Role
from workspace.platform.requests import ApiRequest

router = Router(tags=["workspace"])


class TeamOut(Schema):
    slug: str
    name: str
    role: Role


@router.get("teams", response=list[TeamOut], summary="The caller's teams")
def list_teams(request: ApiRequest) -> list[dict[str, Any]]:
    return [
        {"slug": entry.team.slug, "name": entry.team.name, "role": entry.role}
        for entry in memberships_of(request.auth)
    ]
