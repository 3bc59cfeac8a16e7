"""The golden request: what a replica has to answer well before it is sent anything else.

People may record one for their service; else it is made up from the model's signature.
"""

import http.client
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from deploy.examples import example_of
from deploy.tensors import default_signature
from models.models import ModelVersion

ANSWER_SECONDS = 60.0
LARGEST_ANSWER = 64 * 1024 * 1024
MOST_VALUES = 4_000_000
WORDS_SHOWN = 500


@dataclass(frozen=True)
class Golden:
    """A request to try a replica with; no `body` is none that could be made up."""

    body: bytes | None
    is_recorded: bool = False


@dataclass(frozen=True)
class Verdict:
    """How a replica answered: well, or with a `failure`; `notice` is what people should know.

    `was_cut_off` tells a replica that may have ended over it.
    """

    failure: str = ""
    notice: str = ""
    was_cut_off: bool = False
    at: float = field(default_factory=time.monotonic)


def golden_for(version: ModelVersion, recorded: Mapping[str, Any] | None) -> Golden:
    """Give the request that a version has to answer."""
    if recorded is not None:
        return Golden(json.dumps(recorded).encode(), is_recorded=True)
    if not version.signatures:
        return Golden(None)
    body = example_of(default_signature(version), most=MOST_VALUES).body
    return Golden(None if body is None else json.dumps(body).encode())


def judged(golden: Golden, status: int, answer: bytes) -> Verdict:
    """Judge an answer.

    A made-up request may be refused: some models take particular values only.
    """
    said = answer[:WORDS_SHOWN].decode("utf-8", "replace").strip()
    if status >= 500:
        return Verdict(f"it answered {status}: {said}")
    if status >= 400 and golden.is_recorded:
        return Verdict(f"it refused the recorded request with {status}: {said}")
    if status >= 400:
        return Verdict(
            notice=f"The model refused the golden request made up from its signature ({status}:"
            f" {said}). Record one that it takes, so that the next rollout is tried in earnest."
        )
    if status != 200 or not _is_object(answer):
        return Verdict(f"it answered {status} with what is no JSON object: {said}")
    return Verdict()


def try_out(address: str, model: str, golden: Golden) -> Verdict:
    """Send the request to a replica, and judge what comes back."""
    if golden.body is None:
        return Verdict(
            notice="No golden request was sent: none can be made up from the model's signature."
            " Record one in the service's settings."
        )
    connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
    with closing(connection):
        try:
            connection.request(
                "POST",
                f"/v1/models/{quote(model, safe='')}:predict",
                golden.body,
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            return judged(golden, response.status, response.read(LARGEST_ANSWER))
        except TimeoutError:
            return Verdict(f"it did not answer within {ANSWER_SECONDS:.0f} s")
        except (OSError, http.client.HTTPException) as error:
            words = str(error) or type(error).__name__
            return Verdict(f"the connection broke ({words})", was_cut_off=True)


def _is_object(answer: bytes) -> bool:
    try:
        return isinstance(json.loads(answer), dict)
    except (ValueError, RecursionError):
        return False
