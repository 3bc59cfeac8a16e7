"""Classify and regress over REST, by real models that parse tf.Examples."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..environment import build_saved_models, find_old_tensorflow_python
from ..serving import ModelServer, write_model_config

pytestmark = pytest.mark.tensorflow

CLASSIFY = "/v1/models/flowers:classify"
REGRESS = "/v1/models/flowers:regress"


@pytest.fixture(scope="module")
def flowers(
    tensorflow_python: Path, example_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModelServer]:
    log = tmp_path_factory.mktemp("flowers") / "server.log"
    server = ModelServer(
        tensorflow_python,
        log,
        "--model_name=flowers",
        f"--model_base_path={example_models / 'flowers'}",
    )
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


def test_each_example_is_classified_into_labels_with_scores(flowers: ModelServer) -> None:
    answer = flowers.post(CLASSIFY, {"examples": [{"size": 0.25}, {"size": [1.0], "color": "w"}]})

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {"results": [[["red", 0.25], ["RED", 0.75]], [["w", 1.0], ["W", 0.0]]]}


def test_labels_or_scores_that_the_model_lacks_are_empty_or_zero(flowers: ModelServer) -> None:
    one = {"examples": [{"size": 0.25}]}

    labels = flowers.post(CLASSIFY, {"signature_name": "labels", **one})
    scores = flowers.post(CLASSIFY, {"signature_name": "scores", **one})

    assert labels.json == {"results": [[["red", 0.0], ["RED", 0.0]]]}
    assert scores.json == {"results": [[["", 0.25], ["", 0.75]]]}


def test_each_example_is_regressed_to_one_number(flowers: ModelServer) -> None:
    examples = [{"size": 0.1, "count": 3}, {"size": 2.0}, {"size": float("nan")}]

    answer = flowers.post(REGRESS, {"signature_name": "regress", "examples": examples})
    flat = flowers.post(REGRESS, {"signature_name": "regress_flat", "examples": examples})

    assert answer.body == b'{"results": [0.3, 2.0, NaN]}'
    assert flat.body == b'{"results": [0.1, 2.0, NaN]}'


def test_the_context_is_part_of_every_example(flowers: ModelServer) -> None:
    answer = flowers.post(CLASSIFY, {"context": {"size": 0.5}, "examples": [{}, {"color": "blue"}]})

    assert answer.json == {
        "results": [[["red", 0.5], ["RED", 0.5]], [["blue", 0.5], ["BLUE", 0.5]]]
    }


def test_bytes_and_booleans_are_features_too(flowers: ModelServer) -> None:
    color = base64.b64encode("grün".encode()).decode()
    classified = flowers.post(CLASSIFY, {"examples": [{"size": 0.5, "color": {"b64": color}}]})
    regressed = flowers.post(
        REGRESS,
        {"signature_name": "regress", "examples": [{"size": 2.5, "count": [True]}]},
    )

    assert classified.json["results"][0][0] == ["grün", 0.5]
    assert regressed.json == {"results": [2.5]}


def test_a_whole_number_for_a_float_feature_fails_in_the_graph(flowers: ModelServer) -> None:
    answer = flowers.post(CLASSIFY, {"examples": [{"size": 1}]})

    assert answer.status == 400
    assert "size" in answer.error
    assert "float" in answer.error


def test_a_numbers_size_is_that_of_a_float_feature(flowers: ModelServer) -> None:
    answer = flowers.post(
        REGRESS,
        '{"signature_name": "regress_flat", "examples": [{"size": 1e300}, {"size": 1e-300}]}',
    )

    assert answer.body == b'{"results": [Infinity, 0.0]}'


def test_gzip_bodies_and_large_ones_are_classified_alike(flowers: ModelServer) -> None:
    body = json.dumps({"examples": [{"size": 0.5}] * 3000}).encode()

    plain = flowers.post(CLASSIFY, body)
    zipped = flowers.post(CLASSIFY, gzip.compress(body), Content_Encoding="gzip")

    assert plain.json == {"results": [[["red", 0.5], ["RED", 0.5]]] * 3000}
    assert zipped.body == plain.body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("[]", "Is not object"),
        ("{}", "key 'examples' is expected and was not found"),
        ('{"instances": [1]}', "key 'examples' is expected and was not found"),
        ('{"examples": {}}', "Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', "'examples' value is an empty array"),
        ('{"examples": [1]}', "Example must be JSON object but got JSON Number"),
        ('{"examples": [{}], "context": []}', "Example must be JSON object but got JSON Array"),
        ('{"examples": [{"a": null}]}', "Feature: a has element with unexpected JSON type: Null"),
        ('{"examples": [{"a": [[1]]}]}', "Feature: a has element with unexpected JSON type: Array"),
        ('{"examples": [{"a": {"b": 1}}]}', "Feature: a has element with unexpected JSON type"),
        ('{"examples": [{"a": [1, 1.0]}]}', "element type in feature: a expecting type: int64"),
        ('{"examples": [{"a": [1.0, true]}]}', "element type in feature: a expecting type: float"),
        ('{"examples": [{"a": ["x", 1]}]}', "element type in feature: a expecting type: bytes"),
        ('{"examples": [{"a": 9223372036854775808}]}', "has uint64 element. Only int64"),
        ('{"examples": [{"a": [1.5, 9223372036854775808]}]}', "feature: a expecting type: float"),
        ('{"examples": [{"a": [1, 18446744073709551616]}]}', "feature: a expecting type: int64"),
        ('{"examples": [{"a": {"b64": "!"}}]}', "Unable to base64 decode"),
        ('{"examples": [{"a": 1}], "signature_name": 1}', "'signature_name' key must be a string"),
        ('{"examples": [{}]}', "size"),
        (
            '{"examples": [{"size": 1.0}], "signature_name": "none"}',
            "No signature was found with the name: none",
        ),
    ],
)
def test_a_wrong_request_is_a_400_that_says_why(flowers: ModelServer, body: str, said: str) -> None:
    answer = flowers.post(CLASSIFY, body)

    assert answer.status == 400
    assert said in answer.error


@pytest.mark.parametrize(
    ("method", "signature", "said"),
    [
        ("classify", "unnamed", "No classification inputs found"),
        ("classify", "other", 'at least one of "classes" or "scores"'),
        ("classify", "three", "Expected one or two output Tensors, found 3"),
        ("classify", "precise", "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ("classify", "flat", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("classify", "first", "Expected scores output batch size of 2. Got: 1"),
        ("regress", "unnamed", "No regression inputs found"),
        ("regress", "classify", "Expected one output Tensor."),
        ("regress", "scores", "No regression outputs found"),
        ("regress", "wide", "[batch_size, 1] but got [2,2]"),
    ],
)
def test_a_signature_that_does_not_fit_the_method_is_refused(
    flowers: ModelServer, method: str, signature: str, said: str
) -> None:
    body = {"signature_name": signature, "examples": [{"size": 1.0}, {"size": 2.0}]}

    answer = flowers.post(f"/v1/models/flowers:{method}", body)

    assert answer.status == 400
    assert said in answer.error


def test_half_a_million_levels_of_features_are_refused(flowers: ModelServer) -> None:
    for opened, closed in (("[", "]"), ('{"x":', "}")):
        deep = f'{{"examples": [{{"size": {opened * 500_000}1{closed * 500_000}}}]}}'

        assert flowers.post(CLASSIFY, deep).status == 400
    assert flowers.get("/healthz").status == 200


def test_a_missing_model_is_a_404_once_the_body_is_in_order(flowers: ModelServer) -> None:
    for method in ("classify", "regress"):
        wrong = flowers.post(f"/v1/models/none:{method}", "{")
        right = flowers.post(f"/v1/models/none/versions/7:{method}", {"examples": [{}]})

        assert wrong.status == 400
        assert right.status == 404
        assert right.error == "Servable not found for request: Specific(none, 7)"


def test_method_names_count_where_a_flag_says_so(
    tensorflow_python: Path, example_models: Path, tmp_path: Path
) -> None:
    server = ModelServer(
        tensorflow_python,
        tmp_path / "log",
        "--model_name=flowers",
        f"--model_base_path={example_models / 'flowers'}",
        "--enable_signature_method_name_check",
    )
    try:
        answer = server.wait_until_ready().post(CLASSIFY, {"examples": [{"size": 1.0}]})
    finally:
        server.stop()

    assert answer.status == 400
    assert answer.error == (
        "Expected classification signature method_name to be tensorflow/serving/classify."
        " Was: tensorflow/serving/predict"
    )


def test_models_of_tf_estimator_are_served_by_the_tensorflow_that_made_them(
    tmp_path: Path,
) -> None:
    python = find_old_tensorflow_python()
    models = build_saved_models(python, "build_estimator.py")
    config = write_model_config(
        tmp_path / "models.config", {name: models / name for name in ("classifier", "regressor")}
    )
    server = ModelServer(python, tmp_path / "log", f"--model_config_file={config}")
    body = {"examples": [{"size": -2.0}, {"size": 5.0}]}
    try:
        server.wait_until_ready()
        classified = server.post("/v1/models/classifier:classify", body)
        regressed = server.post("/v1/models/regressor:regress", body)
        predicted = server.post(
            "/v1/models/classifier:predict",
            {"signature_name": "predict", "instances": [{"b64": ""}]},
        )
    finally:
        server.stop()

    assert classified.status == 200, classified.body
    for row, likelier in zip(classified.json["results"], ("small", "large"), strict=True):
        assert [label for label, _ in row] == ["small", "large"]
        assert max(row, key=lambda pair: pair[1])[0] == likelier
    assert regressed.status == 200, regressed.body
    below, above = regressed.json["results"]
    assert below < above
    assert predicted.status == 400
    assert "size" in predicted.error
