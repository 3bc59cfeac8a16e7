"""Ask model servers whether they are ready, many at once, never waiting for a slow one."""

import http.client
import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import quote

TIMEOUT_SECONDS = 2.0
LONGEST_SECONDS = 4.0
LARGEST_ANSWER = 64 * 1024
AT_ONCE = 16


class Health(Enum):
    READY = auto()
    LOADING = auto()
    CANNOT_LOAD = auto()
    SILENT = auto()


@dataclass(frozen=True)
class Answer:
    health: Health
    message: str = ""


class Probes:
    """Keeps one question at most under way for each replica, and hands out what came back."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe")
        self._asked: dict[int, tuple[float, Future[Answer]]] = {}

    def ask(self, replica_id: int, address: str, model: str, *, every: float) -> Answer | None:
        """Give an answer that has come since the last call, and ask again when it is time."""
        now = time.monotonic()
        asked = self._asked.get(replica_id)
        if asked is None:
            self._asked[replica_id] = now, self._threads.submit(probe, address, model)
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
        self._asked[replica_id] = now, self._threads.submit(probe, address, model)
        return answer

    def forget(self, replica_id: int) -> None:
        self._asked.pop(replica_id, None)


def probe(address: str, model: str) -> Answer:
    """Ask a model server once."""
    try:
        status, body = _get(address, "/readyz")
        if status == 200:
            return Answer(Health.READY)
        error = _load_error(address, model)
    except (OSError, http.client.HTTPException) as failure:
        return Answer(Health.SILENT, _in_words(failure))
    if error:
        return Answer(Health.CANNOT_LOAD, error)
    return Answer(Health.LOADING, body[:200].decode("utf-8", "replace"))


def _load_error(address: str, model: str) -> str:
    """Give why no version of the model could be loaded, or nothing while one still may."""
    status, body = _get(address, f"/v1/models/{quote(model, safe='')}")
    if status != 200:
        return ""
    try:
        versions = json.loads(body)["model_version_status"]
        errors = [
            entry["status"]["error_message"]
            for entry in versions
            if entry["state"] == "END" and entry["status"]["error_code"] != "OK"
        ]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(errors[0]) if errors and len(errors) == len(versions) else ""


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
