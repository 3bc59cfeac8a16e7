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

from deploy.golden import Golden, Verdict, try_out
from workspace import bell

TIMEOUT_SECONDS = 2.0
LONGEST_SECONDS = 4.0
LARGEST_ANSWER = 64 * 1024
AT_ONCE = 16
NO_SUCH_PATH = 404


class Health(Enum):
    READY = auto()
    LOADING = auto()
    CANNOT_LOAD = auto()
    SILENT = auto()


@dataclass(frozen=True)
class Answer:
    health: Health
    message: str = ""


class Version(NamedTuple):
    state: str
    code: str
    error: str


class Probes:
    """Keeps one question at most under way for each replica, and hands out what came back."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe")
        self._asked: dict[int, tuple[float, Future[Answer]]] = {}
        self._tried: dict[int, Future[Verdict]] = {}

    def ask(self, replica_id: int, address: str, model: str, *, every: float) -> Answer | None:
        """Give an answer that has come since the last call, and ask again when it is time."""
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
            answer = Answer(Health.SILENT, "never ends its answer to a health check")
        elif now - since < every:
            return None
        else:
            answer = future.result()
        self._asked[replica_id] = now, self._ask(address, model)
        return answer

    def _ask(self, address: str, model: str) -> Future[Answer]:
        asked = self._threads.submit(probe, address, model)
        asked.add_done_callback(_ring_if_silent)
        return asked

    def try_out(self, replica_id: int, address: str, model: str, golden: Golden) -> Verdict | None:
        """Give how a replica answered its golden request, once it has; sent at the first call."""
        trial = self._tried.get(replica_id)
        if trial is None:
            trial = self._tried[replica_id] = Future()
            # A thread that ends with the process: a model that hangs may not keep it from its end.
            Thread(
                target=_run, args=[trial, lambda: try_out(address, model, golden)], daemon=True
            ).start()
            return None
        return trial.result() if trial.done() else None

    def is_trying(self, replica_id: int) -> bool:
        return replica_id in self._tried

    def end_trial(self, replica_id: int) -> None:
        self._tried.pop(replica_id, None)

    def forget(self, replica_id: int) -> None:
        self._asked.pop(replica_id, None)
        self.end_trial(replica_id)


def _ring_if_silent(asked: Future[Answer]) -> None:
    """Have a silence be noted, and the next question be asked, without waiting for the time."""
    if asked.result().health == Health.SILENT:
        bell.ring()


def _run(trial: Future[Verdict], work: Callable[[], Verdict]) -> None:
    try:
        trial.set_result(work())
    except Exception as error:
        trial.set_exception(error)
    bell.ring()


def probe(address: str, model: str) -> Answer:
    """Ask a model server once.

    /readyz is our own; TensorFlow Serving does not know it, and says as much by its versions.
    """
    try:
        status, body = _get(address, "/readyz")
        if status == 200:
            return Answer(Health.READY)
        versions = _versions(address, model)
    except (OSError, http.client.HTTPException) as failure:
        return Answer(Health.SILENT, _in_words(failure))
    if status == NO_SUCH_PATH and any(one.state == "AVAILABLE" for one in versions):
        return Answer(Health.READY)
    error = _load_error(versions)
    if error:
        return Answer(Health.CANNOT_LOAD, error)
    return Answer(Health.LOADING, body[:200].decode("utf-8", "replace"))


def _versions(address: str, model: str) -> list[Version]:
    """Give the state of every version of a model, as TensorFlow Serving tells it."""
    status, body = _get(address, f"/v1/models/{quote(model, safe='')}")
    if status != 200:
        return []
    try:
        return [
            Version(one["state"], one["status"]["error_code"], str(one["status"]["error_message"]))
            for one in json.loads(body)["model_version_status"]
        ]
    except (ValueError, KeyError, TypeError):
        return []


def _load_error(versions: Sequence[Version]) -> str:
    """Give why no version of the model could be loaded, or nothing while one still may."""
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
        return f"did not answer a health check within {TIMEOUT_SECONDS:g} s"
    return f"failed a health check ({failure or type(failure).__name__})"
