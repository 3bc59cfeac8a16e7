"""Make the first admin, team and compute target."""

from typing import Any

from django.core.management.base import BaseCommand

from config import environment
from workspace.bootstrap import ADMIN, bootstrap


class Command(BaseCommand):
    help = "Make the first admin, team and compute target of an empty database."

    def handle(self, *args: Any, **options: Any) -> None:
        made = bootstrap(
            admin_password=environment.text("TRAINYARD_ADMIN_PASSWORD"),
            engine=environment.text("TRAINYARD_ENGINE"),
        )
        if made:
            self.stdout.write(
                f"The first user is {ADMIN}, with the one-time password {made}\n"
                "It is shown only now, and must be changed at the first log-in."
                f" If it gets lost: manage.py changepassword {ADMIN}"
            )
