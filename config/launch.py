"""Run all of Trainyard in the foreground: python -m config.launch."""

import gc
import os
import signal
import socket
import sys

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver

from config.launcher import Launcher
from config.parts import close_all, parts_of, prepare_database, run_broker
from config.processes import Part
from config.startup import CannotStart, check_grpc_port, listen, lock
from config.terminal import Terminal

WRONG_SETTING = 2
BROKER_PATIENCE_SECONDS = 10


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the launcher can stop in good order
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        home = settings.TRAINYARD_HOME
    except ImproperlyConfigured as error:
        print(error, file=sys.stderr)
        return WRONG_SETTING
    try:
        held = lock(home)
        listeners = [listen(settings.TRAINYARD_BIND, settings.TRAINYARD_PORT)]
        check_grpc_port(settings.TRAINYARD_BIND, settings.TRAINYARD_GRPC_PORT)
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    import_everything()
    launcher = Launcher(Terminal(), [held.close])
    try:
        listeners += listen_for_containers(launcher)
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


def listen_for_containers(launcher: Launcher) -> list[socket.socket]:
    """Listen where containers of an engine on this machine reach it, and say so."""
    from workspace.compute.local_engine import local_engine

    engine = local_engine(settings.DOCKER_HOST)
    if engine is None:
        return []
    launcher.say(
        f"A Docker Engine answers at {engine.address}: the page of compute targets offers it."
    )
    if not settings.LISTENS_FOR_CONTAINERS:
        return []
    try:
        return [listen(engine.gateway, settings.TRAINYARD_PORT)]
    except CannotStart as error:
        launcher.say(f"Its containers cannot reach us, so runs on it will not start. {error}")
        return []


def start_parts(launcher: Launcher, listeners: list[socket.socket]) -> bool:
    if not launcher.run_through(Part("database", prepare_database)):
        launcher.say("The database could not be prepared, so nothing was started.")
        return False
    if settings.HAS_OWN_BROKER:
        settings.BROKER_SOCKET.parent.mkdir(mode=0o700, exist_ok=True)
        launcher.keep(Part("broker", run_broker), is_last=True)
        launcher.wait_until(broker_answers, BROKER_PATIENCE_SECONDS)
    for part in parts_of(*listeners):
        launcher.keep(part)
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
