"""Run all of Trainyard in the foreground: python -m config.server.launch."""

import gc
import os
import signal
import socket
import sys

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver

from config.server.launcher import Launcher
from config.server.parent import set_process_title
from config.server.parts import close_all, parts_of, prepare_database, run_broker
from config.server.processes import ServerPart
from config.server.startup import (
    StartupError,
    check_grpc_port,
    keep_files_private,
    listen,
    lock,
    tighten,
)
from config.server.terminal import Terminal

WRONG_SETTING = 2
BROKER_START_TIMEOUT_SECONDS = 10


def main() -> int:
    set_process_title("launcher")
    keep_files_private()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the launcher can stop in good order
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        home = settings.TRAINYARD_HOME
    except ImproperlyConfigured as error:
        print(error, file=sys.stderr)
        return WRONG_SETTING
    try:
        if problem := tighten(home):
            print(problem, file=sys.stderr)
        held = lock(home)
        listeners = [listen(settings.TRAINYARD_BIND, settings.TRAINYARD_PORT)]
        check_grpc_port(settings.TRAINYARD_BIND, settings.TRAINYARD_GRPC_PORT)
    except StartupError as error:
        print(error, file=sys.stderr)
        return 1
    import_everything()
    launcher = Launcher(Terminal(), [held.close])
    try:
        report_engine(launcher)
        is_well = start_parts(launcher, listeners) or launcher.is_stopping
        if is_well:
            launcher.watch()
    finally:
        close_all(listeners)
        launcher.stop()
    return 0 if is_well else 1


def import_everything() -> None:
    """Import what the parts need before they are forked, so that they share it."""
    gc.disable()
    django.setup()
    import config.asgi  # noqa: F401

    _ = get_resolver().url_patterns
    gc.freeze()


def report_engine(launcher: Launcher) -> None:
    """Say whether an engine of this machine answers."""
    from workspace.compute.engine.discovery import find_local_engine

    engine = find_local_engine(settings.DOCKER_HOST)
    if engine is not None:
        launcher.log(
            f"Found a Docker Engine at {engine.address}: add it on the Compute targets page."
        )


def start_parts(launcher: Launcher, listeners: list[socket.socket]) -> bool:
    if not launcher.run_to_completion(ServerPart("database", prepare_database)):
        launcher.log("The database could not be prepared, so nothing was started.")
        return False
    if settings.HAS_OWN_BROKER:
        settings.BROKER_SOCKET.parent.mkdir(mode=0o700, exist_ok=True)
        launcher.supervise(ServerPart("broker", run_broker), stops_last=True)
        launcher.wait_until(broker_answers, BROKER_START_TIMEOUT_SECONDS)
    for part in parts_of(*listeners):
        launcher.supervise(part)
    return True


def broker_answers() -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(settings.BROKER_SOCKET))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


if __name__ == "__main__":
    sys.exit(main())
