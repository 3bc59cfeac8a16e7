"""Work for the queue's workers: short, and safe to run twice."""

import logging
import threading
from contextlib import suppress

from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from workspace import bell
from workspace.compute.base import BackendError, Unreachable
from workspace.compute.registry import backend_of
from workspace.environments import image_login_of, is_unwanted, log_path
from workspace.models import Environment, EnvironmentState

HEARTBEAT_SECONDS = 2.0
CANCELED = b"The build was stopped: nobody waits for this environment any more.\n"
log = logging.getLogger(__name__)


class BuildStopped(Exception):
    """Nobody waits for what is being built."""


def build_environment(environment_id: int) -> None:
    """Build an environment, unless another worker does or did."""
    claimed = Environment.objects.filter(pk=environment_id, state=EnvironmentState.PENDING).update(
        state=EnvironmentState.BUILDING, heartbeat_at=timezone.now(), error=""
    )
    if not claimed:
        return
    environment = Environment.objects.get(pk=environment_id)
    done, unwanted = threading.Event(), threading.Event()
    beat = threading.Thread(target=_beat, args=(environment, done, unwanted), daemon=True)
    beat.start()
    path = log_path(environment)
    path.parent.mkdir(parents=True, exist_ok=True)
    changes: dict[str, object] = {}
    try:
        with path.open("wb", buffering=0) as written:

            def say(chunk: bytes) -> None:
                written.write(chunk)
                if unwanted.is_set():
                    written.write(CANCELED)
                    raise BuildStopped

            built = backend_of(environment).prepare(
                environment.digest, environment.spec, say, image_login_of(environment)
            )
        changes = {
            "state": EnvironmentState.READY,
            "reference": built.reference,
            "packages": dict(built.packages),
            "versions": dict(built.versions),
            "size_bytes": built.size_bytes,
        }
    except BuildStopped:
        changes = {"state": EnvironmentState.PENDING}
    except Unreachable as error:
        changes = {"state": EnvironmentState.PENDING, "error": str(error)}
    except BackendError as error:
        changes = {"state": EnvironmentState.FAILED, "error": str(error)}
    except Exception as error:
        # Without an end it would be taken for a build whose worker died, and tried again for ever.
        log.exception("Environment %s could not be built", environment.digest[:12])
        message = f"The build came to an end it should not have: {error or type(error).__name__}"
        changes = {"state": EnvironmentState.FAILED, "error": message}
    finally:
        done.set()
        beat.join()
        if changes:
            Environment.objects.filter(pk=environment_id, state=EnvironmentState.BUILDING).update(
                built_at=timezone.now(), heartbeat_at=None, **changes
            )
            bell.ring()


def _beat(environment: Environment, done: threading.Event, unwanted: threading.Event) -> None:
    """Show that the build lives, and see whether it is still wanted."""
    while not done.wait(HEARTBEAT_SECONDS):
        with suppress(DatabaseError):
            close_old_connections()
            Environment.objects.filter(pk=environment.pk).update(heartbeat_at=timezone.now())
            if is_unwanted(environment):
                unwanted.set()
    connection.close()
