"""Recorded requests of every kind are replayed before a version serves."""

import shutil
from pathlib import Path

import pytest

from ..fixtures import StartServer

pytestmark = pytest.mark.tensorflow

SETTINGS = ("--max_num_load_retries=0", "--model_name=flowers")
RECORDS = Path("assets.extra") / "tf_serving_warmup_requests"


def test_records_of_predict_classify_regress_and_multi_inference_are_replayed(
    start_server: StartServer, example_models: Path
) -> None:
    server = start_server(
        *SETTINGS,
        f"--model_base_path={example_models / 'warm-all'}",
        "--num_request_iterations_for_warmup=2",
    ).wait_until_ready()

    assert "Replayed 5 warm-up requests" in server.log_text()
    assert server.post("/v1/models/flowers:classify", {"examples": [{"size": 1.0}]}).status == 200


def test_records_that_are_refused_not_known_too_many_or_torn_fail_the_load(
    start_server: StartServer, example_models: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "warm-torn"
    shutil.copytree(example_models / "warm-all", torn)
    records = torn / "1" / RECORDS
    records.write_bytes(records.read_bytes()[:-3])
    said = {
        example_models / "warm-refused": "record 1 fails: Expected output Tensor shape",
        example_models / "warm-session": "UNIMPLEMENTED: Warm-up with",
        example_models / "warm-too-often": "Number of warmup records exceeds the maximum (1000)",
        torn: "Please verify your warmup data is in TFRecord format",
    }

    servers = {
        text: start_server(*SETTINGS, f"--model_base_path={path}") for path, text in said.items()
    }

    for text, server in servers.items():
        assert server.wait_for_exit() == 255
        assert text in server.log_text()
