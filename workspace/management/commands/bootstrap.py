"""Make the first admin, team and compute target."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from workspace.accounts.bootstrap import ADMIN, bootstrap
from workspace.platform import env


class Command(BaseCommand):
    help = "Make the first admin, team and compute target of an empty database."

    def handle(self, *args: Any, **options: Any) -> None:
        made = bootstrap(
            admin_password=env.secret("TRAINYARD_ADMIN_PASSWORD")
            or settings.TRAINYARD_ADMIN_PASSWORD,
            engine=env.text("TRAINYARD_ENGINE"),
        )
        if made:
            self.stdout.write(
                f"The first user is {ADMIN}, with the one-time password {made}\n"
                "It is shown only now, and must be changed at the first log-in."
                f" If it gets lost: manage.py changepassword {ADMIN}"
            )
