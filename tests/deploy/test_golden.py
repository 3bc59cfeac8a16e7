"""The golden request: made up from a signature or recorded, and how its answer is judged."""

import json
from typing import Any

import pytest

from deploy.golden import Golden, Verdict, golden_for, judged, try_out
from models.models import ModelVersion
from tests.deploy.replicas import replica, sends

MADE_UP, RECORDED = Golden(b"{}"), Golden(b"{}", is_recorded=True)


def version_with(**shapes: list[int]) -> ModelVersion:
    inputs = {name: {"dtype": "float32", "shape": shape} for name, shape in shapes.items()}
    signature = {"method": "tensorflow/serving/predict", "inputs": inputs, "outputs": {}}
    return ModelVersion(signatures={"serving_default": signature})


def body_of(golden: Golden) -> Any:
    assert golden.body is not None
    return json.loads(golden.body)


def test_a_request_is_made_up_in_the_shape_of_the_signature() -> None:
    assert body_of(golden_for(version_with(x=[-1, 2]), None)) == {"instances": [[0.0, 0.0]]}


def test_an_image_sized_request_is_made_up_as_well() -> None:
    rows = body_of(golden_for(version_with(x=[-1, 224, 224, 3]), None))["instances"]
    assert (len(rows), len(rows[0]), len(rows[0][0]), rows[0][0][0]) == (1, 224, 224, [0.0] * 3)


def test_the_recorded_request_goes_before() -> None:
    golden = golden_for(version_with(x=[-1, 2]), {"instances": [[5, 6]]})
    assert (body_of(golden), golden.is_recorded) == ({"instances": [[5, 6]]}, True)


@pytest.mark.parametrize(
    "version", [ModelVersion(signatures={}), version_with(x=[-1, 10_000, 10_000])]
)
def test_where_none_can_be_made_up_people_are_told(version: ModelVersion) -> None:
    verdict = try_out("127.0.0.1:1", "m", golden_for(version, None))
    assert not verdict.failure
    assert verdict.notice.startswith("No golden request was sent")


@pytest.mark.parametrize(
    ("golden", "status", "answer", "failure", "notice"),
    [
        (MADE_UP, 200, b'{"predictions": [1]}', "", ""),
        (MADE_UP, 200, b"<html>", "no JSON object", ""),
        (MADE_UP, 204, b"", "it answered 204", ""),
        (MADE_UP, 400, b'{"error": "x"}', "", "refused the golden request"),
        (MADE_UP, 500, b'{"error": "x"}', 'it answered 500: {"error": "x"}', ""),
        (RECORDED, 200, b'{"predictions": [1]}', "", ""),
        (RECORDED, 404, b'{"error": "x"}', "it refused the recorded request with 404", ""),
        (RECORDED, 503, b"", "it answered 503", ""),
    ],
)
def test_an_answer_is_judged(
    golden: Golden, status: int, answer: bytes, failure: str, notice: str
) -> None:
    verdict = judged(golden, status, answer)
    assert failure in verdict.failure
    assert bool(verdict.failure) == bool(failure)
    assert notice in verdict.notice
    assert bool(verdict.notice) == bool(notice)


def test_a_server_that_is_gone_or_talks_nonsense_was_cut_off() -> None:
    assert try_out("127.0.0.1:1", "m", MADE_UP).was_cut_off
    for said in (b"", b"\x00 no HTTP\r\n\r\n"):
        with replica(sends(said)) as fake:
            assert try_out(fake.address, "m", MADE_UP).was_cut_off


def test_a_server_that_dawdles_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.golden.ANSWER_SECONDS", 0.2)
    with replica(lambda connection, request: bool(connection.recv(1))) as fake:
        verdict = try_out(fake.address, "m", MADE_UP)
    assert isinstance(verdict, Verdict)
    assert "did not answer within" in verdict.failure
