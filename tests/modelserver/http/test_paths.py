"""Which paths exist, and what status, metadata and wrong paths answer."""

import pytest

from ..serving import ModelServer

pytestmark = pytest.mark.tensorflow

ONE = {"instances": [[1, 2]]}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/zoo:predict",
        "/v1/models/zoo/versions/3:predict",
        "/V1/Models/zoo:predict",
        "/v1/models/%7Aoo:predict",
        "/v1/models/zoo:predict?key=1",
    ],
)
def test_a_model_is_scored_at_its_paths(zoo: ModelServer, path: str) -> None:
    assert zoo.post(path, ONE).status == 200


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/models/other:predict", "Servable not found for request: Latest(other)"),
        ("/v1/models/zoo/versions/9:predict", "Servable not found for request: Specific(zoo, 9)"),
        ("/v1/models/zoo/versions/0:predict", "Servable not found for request: Specific(zoo, 0)"),
    ],
)
def test_a_model_or_version_that_is_not_there_is_a_404(
    zoo: ModelServer, path: str, message: str
) -> None:
    answer = zoo.post(path, ONE)

    assert (answer.status, answer.error) == (404, message)


def test_the_body_is_read_before_the_model_is_looked_for(zoo: ModelServer) -> None:
    assert "JSON Parse error" in zoo.post("/v1/models/other:predict", "{").error


def test_an_unknown_label_is_a_400(zoo: ModelServer) -> None:
    for model in ("zoo", "other"):
        answer = zoo.post(f"/v1/models/{model}/labels/canary:predict", ONE)

        assert answer.status == 400
        assert answer.error == "Unrecognized servable version label: canary"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/zoo:predict"),
        ("POST", "/v1/models/zoo"),
        ("POST", "/v1/models/zoo:score"),
        ("POST", "/v1/models/zoo:PREDICT"),
        ("PUT", "/v1/models/zoo:predict"),
        ("DELETE", "/v1/models/zoo"),
        ("GET", "/v1/models/zoo/"),
        ("GET", "/v1/models/zoo/versions/-1"),
        ("GET", "/v1/models/zoo/versions/x"),
        ("GET", "/v1/models/zoo/versions/3/labels/a"),
        ("GET", "/v1/"),
    ],
)
def test_any_other_path_below_v1_is_malformed(zoo: ModelServer, method: str, path: str) -> None:
    answer = zoo.send(method, path, b"{}")

    assert (answer.status, answer.error) == (400, f"Malformed request: {method} {path}")


def test_special_names_and_numbers_have_their_own_errors(zoo: ModelServer) -> None:
    assert zoo.get("/v1/models").error == "Missing model name in request."
    huge = "9" * 19
    assert f"Failed to convert version: {huge}" in zoo.get(f"/v1/models/zoo/versions/{huge}").error
    longer = "9" * 5000
    assert zoo.get(f"/v1/models/zoo/versions/{longer}").status == 400


def test_paths_outside_v1_are_a_404(zoo: ModelServer) -> None:
    for path in ("/", "/v2/models/zoo", "/metrics", "/v1"):
        assert zoo.get(path).status == 404


def test_options_needs_an_origin(zoo: ModelServer) -> None:
    assert zoo.send("OPTIONS", "/v1/models/zoo:predict").status == 400
    origin = "https://example.org"
    assert zoo.send("OPTIONS", "/v1/models/zoo:predict", Origin=origin).status == 200


def test_the_status_lists_the_versions(zoo: ModelServer) -> None:
    expected = {
        "model_version_status": [
            {
                "version": "3",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }

    assert zoo.get("/v1/models/zoo").json == expected
    assert zoo.get("/v1/models/zoo/versions/3").json == expected
    assert zoo.get("/v1/models/zoo/labels/any").json == expected


def test_the_status_of_what_is_not_there_is_a_404(zoo: ModelServer) -> None:
    model, version = zoo.get("/v1/models/other"), zoo.get("/v1/models/zoo/versions/9")

    assert model.status == version.status == 404
    assert model.error == "Could not find any versions of model other"
    assert version.error == "Could not find version 9 of model zoo"


def test_the_metadata_describes_every_signature(zoo: ModelServer) -> None:
    answer = zoo.get("/v1/models/zoo/metadata")

    assert answer.json["model_spec"] == {"name": "zoo", "signature_name": "", "version": "3"}
    signatures = answer.json["metadata"]["signature_def"]["signature_def"]
    default = signatures["serving_default"]
    assert default["method_name"] == "tensorflow/serving/predict"
    info = default["inputs"]["x"]
    assert info["dtype"] == "DT_FLOAT"
    assert info["name"] == "serving_default_x:0"
    assert info["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
        "unknown_rank": False,
    }
    assert signatures["two"]["inputs"]["a"]["tensor_shape"] == {"dim": [], "unknown_rank": True}
    assert signatures["strings"]["outputs"]["text"]["dtype"] == "DT_STRING"
    init = signatures["__saved_model_init_op"]["outputs"]["__saved_model_init_op"]
    assert init["dtype"] == "DT_INVALID"


def test_the_metadata_of_what_is_not_there_is_an_error(zoo: ModelServer) -> None:
    assert zoo.get("/v1/models/zoo/versions/3/metadata").status == 200
    assert zoo.get("/v1/models/other/metadata").status == 404
    assert zoo.get("/v1/models/zoo/versions/9/metadata").status == 404
    assert zoo.get("/v1/models/zoo/labels/x/metadata").status == 400


def test_health_and_readiness_are_outside_the_protocol(zoo: ModelServer) -> None:
    assert zoo.get("/healthz").status == 200
    assert zoo.get("/readyz").status == 200
