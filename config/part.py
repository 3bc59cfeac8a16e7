"""Run one part of Trainyard in the foreground: python -m config.part web.

This is for containers, where each part has one of its own; `config.launch` runs all of them.
"""

import os
import sys

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from config.launch import WRONG_SETTING
from config.parts import prepare_database, run_web
from config.startup import CannotStart, check_grpc_port, listen


def _run_web() -> None:
    check_grpc_port(settings.TRAINYARD_BIND, settings.TRAINYARD_GRPC_PORT)
    run_web(listen(settings.TRAINYARD_BIND, settings.TRAINYARD_PORT))


def _run_worker() -> None:
    call_command("rqworker", "default", verbosity=0)


def _run_supervisor() -> None:
    call_command("supervisor")


PARTS = {
    "database": prepare_database,
    "web": _run_web,
    "worker": _run_worker,
    "supervisor": _run_supervisor,
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in PARTS:
        print(f"Name one part to run: {', '.join(PARTS)}.", file=sys.stderr)
        return WRONG_SETTING
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        django.setup()
        PARTS[arguments[0]]()
    except ImproperlyConfigured as error:
        print(error, file=sys.stderr)
        return WRONG_SETTING
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
