"""The audit log: who did what in a team."""

from typing import Any

from django.contrib.auth.models import User

from workspace.models import AuditEntry, Team


def audit(*, team: Team, actor: User | None, action: str, subject: str, **data: Any) -> None:
    """Record who did what; `actor` is empty when the platform did it."""
    AuditEntry.objects.create(
        team=team, actor=actor, action=action, subject=subject[:200], data=data
    )
