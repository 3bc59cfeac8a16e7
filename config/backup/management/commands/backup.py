"""Back up the database, the storage and the secret key into one file."""

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.backup import archive


class Command(BaseCommand):
    help = "Back up everything into FILE (or to standard output, for -), while Trainyard runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="where to, such as trainyard.tar.gz; - is standard output")

    def handle(self, *args: Any, file: str, **options: Any) -> None:
        about = archive.write_backup(sys.stdout.buffer) if file == "-" else self._make(Path(file))
        if about["key_is_given"]:
            self.stderr.write("SECRET_KEY is not in it, as it was given: keep it beside it.")

    def _make(self, path: Path) -> dict[str, Any]:
        """Write beside the name first, so that what has it is whole."""
        if path.exists():
            raise CommandError(f"{path} already exists: choose another file.")
        draft = path.with_name(f"{path.name}.part")
        try:
            with os.fdopen(
                os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
            ) as to:
                about = archive.write_backup(to)
            draft.rename(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise CommandError(f"{path} could not be written: {error}") from error
        self.stdout.write(f"Wrote {path}: {path.stat().st_size:,} bytes.")
        return about
