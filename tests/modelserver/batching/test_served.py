"""Dynamic batching as clients of a running model server meet it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.modelserver.fixtures import StartServer
from tests.modelserver.serving import Answer, ModelServer, write_model_config

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def gathering(
    tensorflow_python: Path, example_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModelServer]:
    """A server that runs batches of exactly four rows."""
    folder = tmp_path_factory.mktemp("gathering")
    (folder / "batching.txt").write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 600000000 }"
    )
    (folder / "monitoring.txt").write_text("prometheus_config { enable: true }")
    server = ModelServer(
        tensorflow_python,
        folder / "log",
        "--model_name=gathered",
        f"--model_base_path={example_models / 'gathered'}",
        "--enable_batching",
        f"--batching_parameters_file={folder / 'batching.txt'}",
        f"--monitoring_config_file={folder / 'monitoring.txt'}",
    )
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


def ask(server: ModelServer, signature: str, *instances: object) -> list[Answer]:
    """Send requests of one instance each, all at once."""
    with ThreadPoolExecutor(len(instances)) as pool:
        return list(
            pool.map(
                lambda instance: server.post(
                    "/v1/models/gathered:predict",
                    {"signature_name": signature, "instances": [instance]},
                ),
                instances,
            )
        )


def test_requests_over_rest_share_runs_of_the_model(gathering: ModelServer) -> None:
    answers = ask(gathering, "", [1], [2], [3], [4])

    assert [answer.json["predictions"] for answer in answers] == [
        [{"batch": 4, "sum": float(number)}] for number in (1, 2, 3, 4)
    ]
    page = gathering.get("/monitoring/prometheus/metrics").body.decode()
    assert ':tensorflow:serving:batching_session:processed_batch_size_bucket{le="4"}' in page
    assert ':batching_session:queuing_latency_count{thread_pool_name="model_server_batch' in page


def test_one_requests_bad_value_does_not_fail_the_others_of_its_batch(
    gathering: ModelServer,
) -> None:
    good, bad, *others = ask(gathering, "numbers", "1", "x", "3", "4")

    assert (good.status, good.json) == (200, {"predictions": [1.0]})
    assert [answer.json for answer in others] == [{"predictions": [3.0]}, {"predictions": [4.0]}]
    assert bad.status == 400
    assert "x" in bad.error


def test_rows_of_different_lengths_that_meet_are_told_to_be_padded(
    gathering: ModelServer,
) -> None:
    answers = ask(gathering, "", [1], [1, 2], [1], [1])

    assert {answer.status for answer in answers} == {400}
    assert "Set pad_variable_length_inputs to true" in answers[0].error


@pytest.mark.parametrize(
    ("signature", "inputs", "said"),
    [
        ("total", [1, 2, 3, 4], "Batched output tensor has 0 dimensions"),
        ("one", [1, 2, 3, 4], "does not equal the sum of the 0th dimension sizes"),
        ("total", 1, "must have at least one dimension"),
        ("pair", {"a": [1], "b": [1, 2]}, "must have equal 0th-dimension size"),
        ("one", [1] * 5, "Task size 5 is larger than maximum input batch size 4"),
    ],
)
def test_what_can_not_be_batched_is_a_400(
    gathering: ModelServer, signature: str, inputs: object, said: str
) -> None:
    answer = gathering.post(
        "/v1/models/gathered:predict", {"signature_name": signature, "inputs": inputs}
    )

    assert answer.status == 400
    assert said in answer.error


def test_a_version_is_batched_by_its_own_file_or_not_at_all(
    start_server: StartServer, example_models: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    for name in ("plain", "padded"):
        (models / name).mkdir(parents=True)
        source = example_models / "gathered" / "1"
        (models / name / "1").mkdir()
        for entry in source.iterdir():
            (models / name / "1" / entry.name).symlink_to(entry)
    (models / "padded" / "1" / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 60000000 }"
        " pad_variable_length_inputs: true"
    )
    config = write_model_config(
        tmp_path / "models.config", {name: models / name for name in ("plain", "padded")}
    )
    server = start_server(
        f"--model_config_file={config}",
        "--enable_batching",
        "--enable_per_model_batching_parameters",
    ).wait_until_ready()

    def send(name: str, row: list[int]) -> Answer:
        return server.post(f"/v1/models/{name}:predict", {"instances": [row]})

    assert send("plain", [1, 2]).json == {"predictions": [{"batch": 1, "sum": 3.0}]}
    with ThreadPoolExecutor(4) as pool:
        rows = [[1], [1, 2], [1, 2, 3], [1, 2, 3]]
        sums = [
            answer.json["predictions"][0]["sum"]
            for answer in pool.map(lambda row: send("padded", row), rows)
        ]
    # Shorter rows are filled up with the first element of their request.
    assert sums == [3.0, 4.0, 6.0, 6.0]


def test_parameters_that_no_model_can_be_served_with_fail_the_start(
    start_server: StartServer, example_models: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("max_batch_size { value: 4 } allowed_batch_sizes: 2")
    unreadable = tmp_path / "unreadable.txt"
    unreadable.write_text("max_batch_size = 4")
    model = ("--model_name=gathered", f"--model_base_path={example_models / 'gathered'}")
    batched = (*model, "--enable_batching", "--max_num_load_retries=0")
    servers = {
        "Last entry in allowed_batch_sizes": (*batched, f"--batching_parameters_file={wrong}"),
        "Invalid protobuf file": (*batched, f"--batching_parameters_file={unreadable}"),
        "without setting server_options.enable_batching": (
            *model,
            f"--batching_parameters_file={wrong}",
        ),
    }

    started = {said: start_server(*flags) for said, flags in servers.items()}

    for said, server in started.items():
        assert server.wait_for_exit() == 255
        assert said in server.log_text()
