"""Let the home belong to the database that is set now."""

from typing import Any

from django.core.management.base import BaseCommand

from config.server.installation import accept_database


class Command(BaseCommand):
    help = "Use TRAINYARD_HOME with the database of DATABASE_URL from now on, though they differ."

    def handle(self, *args: Any, **options: Any) -> None:
        accept_database()
        self.stdout.write("Accepted the database. Start Trainyard now.")
