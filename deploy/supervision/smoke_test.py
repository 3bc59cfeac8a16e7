"""The smoke test: a request that each replica must answer before it receives traffic.

A service may have a recorded request; otherwise one is generated from the model's signature. It
goes over REST, and over gRPC where JSON cannot carry it or REST refuses it: a status of HTTP stands
for several causes, a code of gRPC for one.
"""

import http.client
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from deploy.contract.examples import example_of
from deploy.contract.predict_message import predict_message
from deploy.contract.signatures import default_signature
from deploy.supervision.grpc_call import CallOutcome, predict
from models.models import ModelVersion

RESPONSE_TIMEOUT_SECONDS = 60.0
LARGEST_ANSWER = 64 * 1024 * 1024
MOST_VALUES = 4_000_000
WORDS_SHOWN = 500

# The request does not fit; the model may well answer another.
REFUSALS = {"INVALID_ARGUMENT", "OUT_OF_RANGE"}
# Not to be asked in this way; that says nothing of others.
NOT_OFFERED = {"UNIMPLEMENTED"}
# What stands for these over HTTP, among other causes.
REFUSED_STATUSES = {400, 413}
NOT_OFFERED_STATUSES = {501}
NONE_RAN = "No smoke test ran: no request can be generated from the model's signature."
RECORD_ONE = "Record a request that it accepts, so that rollouts are tested with it."


@dataclass(frozen=True)
class SmokeTest:
    """A request to test a replica with.

    `body` is its JSON and `message` its PredictRequest, each None where there is none.
    `why_not_rest` says why a generated one has no JSON.
    """

    body: bytes | None
    message: bytes | None = None
    is_recorded: bool = False
    why_not_rest: str = ""


@dataclass(frozen=True)
class SmokeTestResult:
    """The result: passed unless there is a `failure`; `notice` is shown on the service's page.

    `was_answered`: the model computed an answer. `refusal`: how it refused a generated request,
    which may not suit it. `lost_connection`: the connection broke, so the replica may have crashed.
    """

    failure: str = ""
    notice: str = ""
    was_answered: bool = False
    refusal: str = ""
    lost_connection: bool = False
    at: float = field(default_factory=time.monotonic)


def smoke_test_for(version: ModelVersion, recorded: Mapping[str, Any] | None) -> SmokeTest:
    """Return the request that a replica of a version must answer."""
    if recorded is not None:
        return SmokeTest(json.dumps(recorded).encode(), is_recorded=True)
    if not version.signatures:
        return SmokeTest(None)
    signature = default_signature(version)
    if not signature.is_callable or signature.size > MOST_VALUES:
        return SmokeTest(None, why_not_rest=signature.why_not_rest)
    body = example_of(signature, most=MOST_VALUES).body
    return SmokeTest(
        None if body is None else json.dumps(body).encode(),
        predict_message(version.model.name, signature),
        why_not_rest=signature.why_not_rest,
    )


def evaluate_response(smoke_test: SmokeTest, status: int, answer: bytes) -> SmokeTestResult:
    """Return the result for a response of REST.

    A generated request may be refused: some models accept particular values only, and some are
    called by gRPC alone.
    """
    said = answer[:WORDS_SHOWN].decode("utf-8", "replace").strip()
    if smoke_test.is_recorded and 400 <= status < 500:
        return SmokeTestResult(f"it rejected the recorded request with {status}: {said}")
    if not smoke_test.is_recorded and status in REFUSED_STATUSES:
        return _refused(f"{status}: {said}")
    if not smoke_test.is_recorded and status in NOT_OFFERED_STATUSES:
        return _not_offered(f"{status}: {said}")
    if status >= 400:
        return SmokeTestResult(f"it answered {status}: {said}")
    if status != 200 or not _is_object(answer):
        return SmokeTestResult(f"it responded with {status} and no JSON object: {said}")
    return SmokeTestResult(was_answered=True)


def evaluate_call(outcome: CallOutcome, notice: str) -> SmokeTestResult:
    """Return the result for a call over gRPC; the notice is for one that was answered."""
    said = f"{outcome.code}: {outcome.details[:WORDS_SHOWN]}"
    if outcome.code == "OK":
        return SmokeTestResult(notice=notice, was_answered=True)
    if outcome.code in REFUSALS:
        return _refused(said)
    if outcome.code in NOT_OFFERED:
        return _not_offered(said)
    if outcome.code == "DEADLINE_EXCEEDED":
        return _too_slow()
    if outcome.code == "UNAVAILABLE":
        return SmokeTestResult(
            f"the connection broke ({outcome.details[:WORDS_SHOWN]})", lost_connection=True
        )
    return SmokeTestResult(f"it answered {said}")


def run_smoke_test(
    address: str, model: str, smoke_test: SmokeTest, grpc_address: str = ""
) -> SmokeTestResult:
    """Send the request to a replica and evaluate the response."""
    if smoke_test.body is None:
        return _run_over_grpc(smoke_test, grpc_address)
    result = _run_over_rest(address, model, smoke_test)
    if result.was_answered or result.failure or smoke_test.message is None or not grpc_address:
        return result
    outcome = predict(grpc_address, smoke_test.message, RESPONSE_TIMEOUT_SECONDS)
    if outcome.was_not_taken:
        return result
    notice = f"The smoke test was answered over gRPC; REST refused it ({result.refusal})."
    return evaluate_call(outcome, notice)


def _run_over_grpc(smoke_test: SmokeTest, grpc_address: str) -> SmokeTestResult:
    if smoke_test.message is None or not grpc_address:
        why = smoke_test.why_not_rest
        return SmokeTestResult(
            notice=f"No smoke test ran. {why}"
            if why
            else f"{NONE_RAN} Record one in the service's settings."
        )
    outcome = predict(grpc_address, smoke_test.message, RESPONSE_TIMEOUT_SECONDS)
    return evaluate_call(outcome, f"The smoke test ran over gRPC. {smoke_test.why_not_rest}")


def _run_over_rest(address: str, model: str, smoke_test: SmokeTest) -> SmokeTestResult:
    connection = http.client.HTTPConnection(address, timeout=RESPONSE_TIMEOUT_SECONDS)
    with closing(connection):
        try:
            connection.request(
                "POST",
                f"/v1/models/{quote(model, safe='')}:predict",
                smoke_test.body,
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            return evaluate_response(smoke_test, response.status, response.read(LARGEST_ANSWER))
        except TimeoutError:
            return _too_slow()
        except (OSError, http.client.HTTPException) as error:
            words = str(error) or type(error).__name__
            return SmokeTestResult(f"the connection broke ({words})", lost_connection=True)


def _refused(said: str) -> SmokeTestResult:
    return SmokeTestResult(
        notice=f"The model rejected the smoke test generated from its signature ({said})."
        f" {RECORD_ONE}",
        refusal=said,
    )


def _not_offered(said: str) -> SmokeTestResult:
    return SmokeTestResult(
        notice=f"The smoke test generated from the model's signature cannot be sent in this way"
        f" ({said}). {RECORD_ONE}",
        refusal=said,
    )


def _too_slow() -> SmokeTestResult:
    return SmokeTestResult(f"it did not answer within {RESPONSE_TIMEOUT_SECONDS:.0f} s")


def _is_object(answer: bytes) -> bool:
    try:
        return isinstance(json.loads(answer), dict)
    except (ValueError, RecursionError):
        return False
