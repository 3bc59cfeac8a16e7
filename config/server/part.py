"""Run one part of Trainyard in the foreground: python -m config.server.part web.

This is for containers, where each part has one of its own; `config.server.launch` runs all of them.
"""

import os
import sys

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection

from config.server.launch import WRONG_SETTING
from config.server.launcher import Launcher
from config.server.parent import print_lines_at_once, set_process_title
from config.server.parts import prepare_database, run_web, worker_parts
from config.server.startup import (
    StartupError,
    check_grpc_port,
    keep_files_private,
    listen,
    tighten,
)
from config.server.terminal import Terminal


def _run_web() -> None:
    check_grpc_port(settings.TRAINYARD_BIND, settings.TRAINYARD_GRPC_PORT)
    run_web(listen(settings.TRAINYARD_BIND, settings.TRAINYARD_PORT))


def _run_workers() -> None:
    launcher = Launcher(Terminal(), [])
    try:
        for part in worker_parts():
            launcher.supervise(part)
        launcher.watch()
    finally:
        launcher.stop()


def _run_supervisor() -> None:
    call_command("supervisor")


def _check_database() -> None:
    """Raise StartupError where the database is not the home's, as each part may start alone."""
    from config.server.installation import check_database

    try:
        check_database()
    finally:
        connection.close()  # the worker forks


PARTS = {
    "database": prepare_database,
    "web": _run_web,
    "worker": _run_workers,
    "supervisor": _run_supervisor,
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in PARTS:
        print(f"Name one part to run: {', '.join(PARTS)}.", file=sys.stderr)
        return WRONG_SETTING
    set_process_title(arguments[0])
    print_lines_at_once()
    keep_files_private()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        django.setup()
        if problem := tighten(settings.TRAINYARD_HOME):
            print(problem, file=sys.stderr)
        _check_database()
        PARTS[arguments[0]]()
    except ImproperlyConfigured as error:
        print(error, file=sys.stderr)
        return WRONG_SETTING
    except StartupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
