"""What a new installation starts with: an admin, a team and a compute target."""

import secrets

from django.contrib.auth.models import User
from django.db import transaction

from workspace.accounts.services import create_team
from workspace.models import ComputeTarget, OneTimePassword, Team

ADMIN = "admin"
# No letters or digits that look like others, because a person copies it from a terminal.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


@transaction.atomic
def bootstrap(*, admin_password: str = "", engine: str = "") -> str:
    """Make the first admin, team and target of an empty database; do nothing on any other.

    The target is this machine, or the Docker Engine at an address. Either has the name that runs
    use which name no target.

    Gives the one-time password that was made, or nothing when one was given or nothing was done.
    """
    if User.objects.exists():
        return ""
    made = "" if admin_password else _one_time_password()
    admin = User.objects.create_superuser(ADMIN, password=admin_password or made)
    if made:
        OneTimePassword.objects.create(user=admin)
    if not Team.objects.exists():
        team = create_team(slug="default", name="Default", admin=admin)
        kind = "docker" if engine else "local"
        ComputeTarget.objects.create(
            team=team, name="local", kind=kind, address=engine, pool="local", is_trusted=True
        )
    return made


def _one_time_password() -> str:
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(5)) for _ in range(4))
