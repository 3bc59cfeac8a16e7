"""What images are made of: which layers environments share, what they start from, who may pull."""

import pytest

from workspace.compute.environment_spec import EnvironmentSpec, ModelServerKind
from workspace.compute.images.base_images import pull_problem
from workspace.compute.images.build_variables import build_variables
from workspace.compute.images.layers import base_of, layers_of


def keys_of(spec: EnvironmentSpec) -> list[str]:
    below, keys = "base", []
    for layer in layers_of(spec):
        below = layer.key(below)
        keys.append(below)
    return keys


@pytest.mark.parametrize(
    ("fields", "shared"),
    [
        ({"packages": ["six"]}, 3),
        ({"mpi": True}, 3),
        ({"mpi": True, "horovod": True, "framework_version": "2.15"}, 1),
        ({"conda": ["ffmpeg"]}, 1),
        ({"gpu": True}, 2),
    ],
)
def test_environments_share_the_layers_up_to_where_they_differ(fields, shared: int) -> None:
    plain = keys_of(EnvironmentSpec.of("2.21"))
    other = keys_of(EnvironmentSpec.of(**{"framework_version": "2.21", **fields}))
    same = [one == two for one, two in zip(plain, other, strict=False)]
    assert same[:shared] == [True] * shared
    assert not any(same[shared:])


def test_horovod_stands_on_tensorflow_and_open_mpi() -> None:
    spec = EnvironmentSpec.of("2.15", mpi=True, horovod=True, packages=["six"])
    names = [layer.name for layer in layers_of(spec)]
    assert names == ["system", "python", "tensorflow", "mpi", "horovod", "packages"]


def test_each_kind_of_environment_starts_from_its_base() -> None:
    plain, gpu = EnvironmentSpec.of("2.21"), EnvironmentSpec.of("2.21", gpu=True)
    assert base_of(plain, "", "") == "python:3.11-slim"
    assert base_of(EnvironmentSpec.of("2.21", python="3.12"), "", "") == "python:3.12-slim"
    assert base_of(plain, "ours:1", "theirs:1") == "ours:1"
    assert base_of(gpu, "ours:1", "theirs:1") == "theirs:1"
    assert base_of(gpu, "ours:1", "").startswith("nvidia/cuda:12.5")
    assert base_of(EnvironmentSpec.of("2.21", image="mine:1"), "ours:1", "") == "mine:1"


def test_a_build_hears_of_indexes_and_proxies_and_of_nothing_else() -> None:
    told = build_variables(
        {
            "UV_DEFAULT_INDEX": "https://ana:open-sesame@example.com/simple",
            "https_proxy": "http://proxy:3128",
            "PIP_FIND_LINKS": "/opt/wheels",
            "PIP_EXTRA_INDEX_URL": "https://example.com file:///opt/index",
            "SECRET_KEY": "secret",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
    )
    assert told["UV_DEFAULT_INDEX"] == "https://ana:open-sesame@example.com/simple"
    assert told["https_proxy"] == "http://proxy:3128"
    assert "secret" not in told.values()
    assert not {"PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"} & told.keys()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("manifest for a/b:1 not found: manifest unknown", "does not exist: check its name"),
        (
            "pull access denied for a/b, repository does not exist or may require 'docker login'",
            "it does not exist, or it requires a login. Give image_registry_details",
        ),
        ("no matching manifest for linux/arm64/v8", "no version for this engine's CPU"),
        ("write /var/lib/docker/tmp/x: no space left on device", "engine has no space left"),
        ("dial tcp: lookup example.com: no such host", "cannot be reached from the engine"),
        ("unexpected EOF", "cannot be pulled: unexpected EOF"),
    ],
)
def test_why_an_image_cannot_be_had_is_said_with_the_way_out(said: str, words: str) -> None:
    assert words in pull_problem("a/b:1", said, has_login=False)


def test_a_login_that_does_not_do_is_told_from_a_missing_one() -> None:
    said = pull_problem("a/b:1", "unauthorized: incorrect username or password", has_login=True)
    assert "the login is rejected" in said


def test_an_image_that_serves_gets_a_python_for_the_runner_and_no_tensorflow() -> None:
    spec = EnvironmentSpec.of(
        "2.21", image="tensorflow/serving:2.21.0", server=ModelServerKind.IMAGE
    )
    assert base_of(spec, "python:3.12", "") == "tensorflow/serving:2.21.0"
    assert [layer.name for layer in layers_of(spec)] == ["system", "server", "python"]


def test_our_own_server_comes_on_top_of_all_that_it_needs() -> None:
    spec = EnvironmentSpec.of("2.21", packages=["orjson"], server=ModelServerKind.OWN)
    layers = layers_of(spec)
    names = [layer.name for layer in layers]
    assert names == ["system", "python", "tensorflow", "packages", "model server"]
    assert "deploy/modelserver/__main__.py" in layers[-1].files
    plain = EnvironmentSpec.of("2.21", packages=["orjson"])
    assert spec.digest("pool") != plain.digest("pool")
