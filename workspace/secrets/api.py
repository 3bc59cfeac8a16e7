"""The REST API of a team's secrets: their names, never their values."""

from datetime import datetime
from typing import Annotated

from django.http import HttpResponse
from ninja import Router, Schema, Status
from pydantic import Field

from workspace.accounts.api_auth import ADMIN_API_AUTH
from workspace.accounts.selectors import team_for
from workspace.models import Role, TeamSecret
from workspace.platform.json_body import JsonBody
from workspace.platform.requests import ApiRequest
from workspace.platform.validation import StrictModel
from workspace.secrets.services import delete_secret, secret_of, secrets_of, store_secret

router = Router(tags=["secrets"])


class SecretOut(Schema):
    name: str
    created_by: str | None
    created_at: datetime
    updated_at: datetime = Field(description="When its value was last replaced.")
    last_used_at: datetime | None = Field(description="When a run last started with it.")

    @staticmethod
    def resolve_created_by(secret: TeamSecret) -> str | None:
        return secret.created_by.username if secret.created_by else None


class SecretValue(StrictModel):
    """The value of a secret, which no response holds."""

    value: str = Field(description="At most 65,536 bytes of text. Stored encrypted, never shown.")


@router.get("teams/{slug}/secrets", response=list[SecretOut], summary="List secrets")
def list_secrets(request: ApiRequest, slug: str) -> list[TeamSecret]:
    """List the names of the team's secrets. Values are not returned."""
    return list(secrets_of(team_for(request.auth, slug)))


@router.put(
    "teams/{slug}/secrets/{name}",
    response={200: SecretOut, 201: SecretOut},
    auth=ADMIN_API_AUTH,
    summary="Add a secret or replace its value",
)
def put_secret(
    request: ApiRequest, slug: str, name: str, payload: Annotated[SecretValue, JsonBody()]
) -> Status[TeamSecret]:
    team = team_for(request.auth, slug, Role.ADMIN)
    secret, is_new = store_secret(team=team, by=request.auth, name=name, value=payload.value)
    return Status(201 if is_new else 200, secret)


@router.delete(
    "teams/{slug}/secrets/{name}",
    response={204: None},
    auth=ADMIN_API_AUTH,
    summary="Delete a secret",
)
def remove_secret(request: ApiRequest, slug: str, name: str) -> HttpResponse:
    """Delete a secret. A queued run that needs it fails when it starts."""
    team = team_for(request.auth, slug, Role.ADMIN)
    delete_secret(secret=secret_of(team, name), by=request.auth)
    return HttpResponse(status=204)
