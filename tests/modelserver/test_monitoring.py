"""What Prometheus reads from the model server."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytest.importorskip("orjson", reason="the model server's requirements are not installed here")
pytest.importorskip("numpy", reason="numpy is not installed here")

from deploy.modelserver.monitoring import LATENCY_BOUNDS, Metrics, PrometheusHistogram
from tests.modelserver.fixtures import StartServer
from tests.modelserver.serving import ModelServer

USUAL_PATH = "/monitoring/prometheus/metrics"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(page: bytes) -> Samples:
    """Return the samples as Prometheus' own reader sees them; it ends counters in `_total`."""
    return {
        (sample.name.removesuffix("_total"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f":tensorflow:serving:{name}", frozenset(labels.items())]


@pytest.fixture(scope="module")
def watched(
    tensorflow_python: Path, example_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModelServer]:
    folder = tmp_path_factory.mktemp("watched")
    (folder / "monitoring.txt").write_text("prometheus_config: { enable: true, path: '/stats' }")
    server = ModelServer(
        tensorflow_python,
        folder / "log",
        "--model_name=flowers",
        f"--model_base_path={example_models / 'warm-all'}",
        f"--monitoring_config_file={folder / 'monitoring.txt'}",
    )
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


@pytest.mark.tensorflow
def test_requests_their_times_and_their_examples_are_counted(watched: ModelServer) -> None:
    example = {"examples": [{"size": 1.0}, {"size": 0.5}]}
    model = "/v1/models/flowers"
    for _ in range(3):
        assert watched.post(f"{model}:classify", example).status == 200
    assert watched.post(f"{model}:regress", {"signature_name": "regress", **example}).status == 200
    assert watched.post(f"{model}:predict", {"instances": ["no example"]}).status == 400
    assert watched.post(f"{model}/versions/9:predict", {"instances": [1]}).status == 404
    assert watched.post("/v1/models/none:predict", {"instances": [1]}).status == 404

    answer = watched.get("/stats?since=ever")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain")
    assert b':tensorflow:serving:request_count{model_name="flowers",status="OK"} 4' in answer.body
    samples = read(answer.body)
    for status, count in (("OK", 4), ("INVALID_ARGUMENT", 1), ("NOT_FOUND", 1)):
        assert value(samples, "request_count", model_name="flowers", status=status) == count
    times = {"model_name": "flowers", "API": "classify", "entrypoint": "REST"}
    assert value(samples, "request_latency_count", **times) == 3
    assert value(samples, "request_latency_bucket", le="+Inf", **times) == 3
    assert 0 < value(samples, "request_latency_sum", **times) < 60e6
    runs = {"model_name": "flowers", "API": "Regress", "runtime": "TF1"}
    assert value(samples, "runtime_latency_count", **runs) == 1
    assert value(samples, "request_example_counts_sum", model="flowers") == 8
    assert value(samples, "request_example_count", model="flowers") == 8
    assert b'"none"' not in answer.body


@pytest.mark.tensorflow
def test_loads_and_warm_ups_are_counted(watched: ModelServer, example_models: Path) -> None:
    samples = read(watched.get("/stats").body)
    path = str(example_models / "warm-all" / "1")

    assert value(samples, "model_warmup_latency_count", model_path=path, status="OK") == 1
    loads = {"model_path": path, "status": "success"}
    assert samples[":tensorflow:cc:saved_model:load_attempt_count", frozenset(loads.items())] == 1


@pytest.mark.tensorflow
def test_only_the_path_that_is_configured_has_metrics(watched: ModelServer) -> None:
    assert watched.get(USUAL_PATH).status == 404
    assert watched.send("POST", "/stats", b"").status == 405


@pytest.mark.tensorflow
def test_the_usual_path_counts_where_none_is_given_and_a_wrong_file_fails_the_start(
    start_server: StartServer, saved_models: Path, tmp_path: Path
) -> None:
    right, wrong = tmp_path / "right.txt", tmp_path / "wrong.txt"
    right.write_text("prometheus_config { enable: true }")
    wrong.write_text("prometheus { enable: true }")
    model = ("--model_name=line", f"--model_base_path={saved_models / 'line'}")
    servers = [start_server(*model, f"--monitoring_config_file={file}") for file in (right, wrong)]

    assert servers[0].wait_until_ready().get(USUAL_PATH).status == 200
    assert servers[1].wait_for_exit() == 255
    assert "Invalid protobuf file" in servers[1].log_text()


@pytest.mark.tensorflow
def test_without_a_configuration_there_are_no_metrics(zoo: ModelServer) -> None:
    assert zoo.get(USUAL_PATH).status == 404


def test_a_histogram_has_tensorflows_bounds_and_counts_upwards() -> None:
    histogram = PrometheusHistogram("name", LATENCY_BOUNDS, "model")
    for microseconds in (9, 10, 17, 1e12):
        histogram.add(("m",), microseconds)

    lines = histogram.lines()

    assert lines[:5] == [
        "# TYPE name histogram",
        'name_bucket{model="m",le="10"} 2',
        'name_bucket{model="m",le="18"} 3',
        'name_bucket{model="m",le="32.4"} 3',
        'name_bucket{model="m",le="58.32"} 3',
    ]
    assert lines[-3:] == [
        'name_bucket{model="m",le="+Inf"} 4',
        'name_sum{model="m"} 1000000000036',
        'name_count{model="m"} 4',
    ]
    assert len(lines) == 1 + 33 + 3


def test_names_with_quotes_and_backslashes_are_escaped() -> None:
    metrics = Metrics()
    name = 'a"b\\c\nd'
    metrics.count_request(name, "OK")

    [key] = read(metrics.page())

    assert dict(key[1])["model_name"] == name


def test_counts_from_several_threads_are_all_there() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(2000):
            metrics.count_request("m", "OK")
            metrics.observe_request("m", "predict", "REST", 0.001)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    samples = read(metrics.page())
    assert value(samples, "request_count", model_name="m", status="OK") == 8000
    labels = {"model_name": "m", "API": "predict", "entrypoint": "REST"}
    assert value(samples, "request_latency_count", **labels) == 8000
