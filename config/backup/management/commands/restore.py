"""Bring a backup back into an empty installation."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.backup import restore


class Command(BaseCommand):
    help = "Restore FILE (or standard input, for -) into an installation with nothing in it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="what `backup` wrote; - is standard input")

    def handle(self, *args: Any, file: str, **options: Any) -> None:
        try:
            if file == "-":
                about = restore.restore(sys.stdin.buffer)
            else:
                with open(file, "rb") as source:
                    about = restore.restore(source)
        except restore.RestoreError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
        self.stdout.write(f"Restored the backup of {about['at']}. Start Trainyard now.")
