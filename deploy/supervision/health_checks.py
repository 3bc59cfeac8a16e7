"""Ask model servers whether they are ready, many at once, never waiting for a slow one."""

import http.client
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto
from threading import Thread
from typing import NamedTuple
from urllib.parse import quote

from deploy.supervision.smoke_test import SmokeTest, SmokeTestResult, run_smoke_test
from workspace.platform import wakeup

TIMEOUT_SECONDS = 2.0
LONGEST_SECONDS = 4.0
LARGEST_ANSWER = 64 * 1024
AT_ONCE = 16
NO_SUCH_PATH = 404


class Health(Enum):
    READY = auto()
    LOADING = auto()
    CANNOT_LOAD = auto()
    UNREACHABLE = auto()


@dataclass(frozen=True)
class HealthCheck:
    health: Health
    message: str = ""


class ModelVersionStatus(NamedTuple):
    state: str
    code: str
    error: str


class HealthChecker:
    """Keeps one question at most under way for each replica, and hands out what came back."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe")
        self._asked: dict[int, tuple[float, Future[HealthCheck]]] = {}
        self._smoke_tests: dict[int, Future[SmokeTestResult]] = {}

    def ask(self, replica_id: int, address: str, model: str, *, every: float) -> HealthCheck | None:
        """Return an answer that has come since the last call, and ask again when it is time."""
        now = time.monotonic()
        asked = self._asked.get(replica_id)
        if asked is None:
            self._asked[replica_id] = now, self._ask(address, model)
            return None
        since, future = asked
        answer = None
        if not future.done():
            if now - since < LONGEST_SECONDS:
                return None
            answer = HealthCheck(
                Health.UNREACHABLE, "never finishes its response to a health check"
            )
        elif now - since < every:
            return None
        else:
            answer = future.result()
        self._asked[replica_id] = now, self._ask(address, model)
        return answer

    def _ask(self, address: str, model: str) -> Future[HealthCheck]:
        asked = self._threads.submit(probe, address, model)
        asked.add_done_callback(_wake_if_unreachable)
        return asked

    def smoke_test(
        self,
        replica_id: int,
        address: str,
        model: str,
        smoke_test: SmokeTest,
        grpc_address: str = "",
    ) -> SmokeTestResult | None:
        """Return the result of a replica's smoke test once it is known; starts it at first."""
        pending = self._smoke_tests.get(replica_id)
        if pending is None:
            pending = self._smoke_tests[replica_id] = Future()
            # A thread that ends with the process: a model that hangs may not keep it from its end.
            Thread(
                target=_run,
                args=[pending, lambda: run_smoke_test(address, model, smoke_test, grpc_address)],
                daemon=True,
            ).start()
            return None
        return pending.result() if pending.done() else None

    def is_smoke_testing(self, replica_id: int) -> bool:
        return replica_id in self._smoke_tests

    def forget_smoke_test(self, replica_id: int) -> None:
        self._smoke_tests.pop(replica_id, None)

    def forget(self, replica_id: int) -> None:
        self._asked.pop(replica_id, None)
        self.forget_smoke_test(replica_id)


def _wake_if_unreachable(asked: Future[HealthCheck]) -> None:
    """Have a silence be noted, and the next question be asked, without waiting for the time."""
    if asked.result().health == Health.UNREACHABLE:
        wakeup.send()


def _run(pending: Future[SmokeTestResult], work: Callable[[], SmokeTestResult]) -> None:
    try:
        pending.set_result(work())
    except Exception as error:
        pending.set_exception(error)
    wakeup.send()


def probe(address: str, model: str) -> HealthCheck:
    """Ask a model server once.

    /readyz is our own; TensorFlow Serving does not know it, and says as much by its versions.
    """
    try:
        status, body = _get(address, "/readyz")
        if status == 200:
            return HealthCheck(Health.READY)
        versions = _versions(address, model)
    except (OSError, http.client.HTTPException) as failure:
        return HealthCheck(Health.UNREACHABLE, _in_words(failure))
    if status == NO_SUCH_PATH and any(one.state == "AVAILABLE" for one in versions):
        return HealthCheck(Health.READY)
    error = _load_error(versions)
    if error:
        return HealthCheck(Health.CANNOT_LOAD, error)
    return HealthCheck(Health.LOADING, body[:200].decode("utf-8", "replace"))


def _versions(address: str, model: str) -> list[ModelVersionStatus]:
    """Return the state of every version of a model, as TensorFlow Serving tells it."""
    status, body = _get(address, f"/v1/models/{quote(model, safe='')}")
    if status != 200:
        return []
    try:
        return [
            ModelVersionStatus(
                one["state"], one["status"]["error_code"], str(one["status"]["error_message"])
            )
            for one in json.loads(body)["model_version_status"]
        ]
    except (ValueError, KeyError, TypeError):
        return []


def _load_error(versions: Sequence[ModelVersionStatus]) -> str:
    """Return why no version of the model could be loaded, or nothing while one still may."""
    errors = [one.error for one in versions if one.state == "END" and one.code != "OK"]
    return errors[0] if errors and len(errors) == len(versions) else ""


def _get(address: str, path: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(LARGEST_ANSWER)


def _in_words(failure: Exception) -> str:
    if isinstance(failure, ConnectionRefusedError):
        return "takes no connections"
    if isinstance(failure, TimeoutError):
        return f"did not respond to a health check within {TIMEOUT_SECONDS:g} s"
    return f"failed a health check ({failure or type(failure).__name__})"
