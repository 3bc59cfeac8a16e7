"""Make an API token for a user, for scripts and for the first steps."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from workspace.accounts.services import issue_token
from workspace.models import Scope
from workspace.platform.errors import Invalid


class Command(BaseCommand):
    help = "Make an API token for a user and print it as the last word."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="the user's name")
        parser.add_argument("--name", default="command line", help="what the token is for")
        parser.add_argument("--scope", default=Scope.ADMIN.value, choices=Scope.values)
        parser.add_argument("--days", type=int, help="how long it lasts; for ever when not given")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {options['user']!r}.")
        try:
            token, secret = issue_token(
                user=user,
                name=options["name"],
                scope=Scope(options["scope"]),
                days=options["days"],
            )
        except Invalid as error:
            raise CommandError(error.message) from error
        end = f"until {token.expires_at:%Y-%m-%d %H:%M} UTC" if token.expires_at else "without end"
        self.stdout.write(f"A token for {user} with the scope {token.scope}, {end}: {secret}")
