"""Changes who may call a service, how often, and which requests it logs."""

from typing import Annotated, Any

from django.contrib.auth.models import User
from django.db import transaction
from pydantic import Field, model_validator

from deploy.events import record_change
from deploy.models import AccessPolicy, KeySlot, LoggedRequest, Service, ServiceKey
from deploy.traffic.log_policy import LogPolicy
from workspace.platform.validation import StrictModel, error_at

MAX_CALLS_PER_MINUTE = 1_000_000


class AccessChange(StrictModel):
    """Changes of who may call a service, and of its request log. What is not given stays."""

    access_policy: Annotated[AccessPolicy, Field(strict=False)] | None = Field(
        default=None,
        description="keys: service keys and members' API tokens. tokens: members' API tokens."
        " team: also members who are logged in. open: everyone.",
    )
    request_log: LogPolicy | None = Field(
        default=None, description="null turns the request log off."
    )

    @model_validator(mode="after")
    def _names_something(self) -> "AccessChange":
        if self.access_policy is None and "request_log" not in self.model_fields_set:
            raise error_at("access_policy", "Set access_policy, request_log or both.")
        return self


class KeyLimit(StrictModel):
    calls_per_minute: int | None = Field(
        ge=1,
        le=MAX_CALLS_PER_MINUTE,
        description="Calls per minute, counted by each web process separately. null: no limit.",
    )


@transaction.atomic
def change_access(*, service: Service, by: User | None, change: AccessChange) -> None:
    """Change who may call a service, or which requests it logs."""
    changed: dict[str, Any] = {}
    if change.access_policy is not None:
        changed["access_policy"] = change.access_policy.value
    if "request_log" in change.model_fields_set:
        policy = change.request_log
        is_on = policy is not None and policy.sample > 0
        changed["request_log"] = policy.model_dump(mode="json") if policy and is_on else {}
    Service.objects.filter(pk=service.pk).update(**changed)
    record_change(service, by, "service.change_access", **changed)


@transaction.atomic
def limit_key(
    *, service: Service, by: User | None, slot: KeySlot, calls_per_minute: int | None
) -> None:
    """Set how often a key may be used in a minute; None removes the limit."""
    ServiceKey.objects.filter(service=service, slot=slot).update(calls_per_minute=calls_per_minute)
    record_change(
        service, by, "service.limit_key", slot=slot.value, calls_per_minute=calls_per_minute
    )


@transaction.atomic
def delete_logged_requests(*, service: Service, by: User | None) -> None:
    """Delete the request log of a service."""
    count, _ = LoggedRequest.objects.filter(service=service).delete()
    record_change(service, by, "service.delete_logged_requests", requests=count)
