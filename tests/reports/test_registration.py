"""SavedModels as they come: what is read at registration is what a model server loads."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from models.models import ModelVersion
from models.savedmodel.folders import candidates, choose
from models.savedmodel.graph_reader import describe
from runs.models import Run
from tests.factories import bearer, make_run
from tests.models.saved_models import as_tar_gz, as_zip, graph_file, model_files, put_outputs
from workspace.models import Team
from workspace.platform.errors import Invalid

pytestmark = pytest.mark.slow

MODELS = "/api/v1/teams/default/models"


def upload(client: Client, by: User, files: dict[str, bytes], **fields: str) -> Any:
    archive = SimpleUploadedFile("m.zip", as_zip(files).read())
    return client.post(MODELS, {"name": "m", **fields, "archive": archive}, headers=bearer(by))


def with_graphs(*graphs: bytes) -> dict[str, bytes]:
    """Return the files of a SavedModel whose graph file holds several graphs."""
    # Protocol buffers that follow each other are one, whose lists are joined.
    return {**model_files(), "saved_model.pb": b"".join(graphs)}


def test_d7_a_graph_for_gpus_alone_is_refused_with_its_tags(
    client: Client, bob: User, team: Team
) -> None:
    answer = upload(client, bob, with_graphs(graph_file(tags=("serve", "gpu"))))
    assert answer.status_code == 400
    told = answer.json()["errors"]
    assert [error["field"] for error in told] == ["archive"]
    assert "only one tagged gpu and serve" in told[0]["message"]
    assert "add_meta_graph_and_variables(session, ['serve'], ...)" in told[0]["message"]
    assert not ModelVersion.objects.exists()


def test_d7_the_graph_that_is_served_is_the_one_that_is_shown(
    client: Client, bob: User, team: Team
) -> None:
    for_tpu = graph_file(
        tags=("serve", "tpu"), signature_name="a", assets=("gone.txt",), ops=("ReadFile",)
    )
    answer = upload(client, bob, with_graphs(for_tpu, graph_file(signature_name="b")))
    assert answer.status_code == 201, answer.content
    assert list(answer.json()["signatures"]) == ["b"]
    assert answer.json()["scan"] == []


SETS_OF_TAGS = {
    (("serve",),): True,
    (("serve", "serve"),): True,
    (("train",), ("serve",)): True,
    (("serve", "gpu"),): False,
    (("gpu", "serve"), ("serve", "tpu")): False,
    ((),): False,
    (("SERVE",),): False,
    (("serve", ""),): False,
}


@pytest.mark.parametrize(
    ("tags", "is_served"), SETS_OF_TAGS.items(), ids=[repr(tags) for tags in SETS_OF_TAGS]
)
def test_d7_only_a_graph_whose_set_of_tags_is_serve_is_loaded(
    client: Client, bob: User, team: Team, tags: tuple[tuple[str, ...], ...], is_served: bool
) -> None:
    answer = upload(client, bob, with_graphs(*(graph_file(tags=names) for names in tags)))
    assert answer.status_code == (201 if is_served else 400), answer.content


ESTIMATOR_OUTPUTS = {
    **model_files("outputs/export/best/1590000000"),
    **model_files("outputs/export/latest/1590000100"),
    **model_files("outputs/export/latest/1590000200"),
    "outputs/export/latest/temp-1590000300/saved_model.pb": graph_file().ljust(1000, b"\xff")[
        :1000
    ],
    **model_files("outputs/eval/1590000200", tags=("eval",)),
}


@pytest.fixture
def estimator_run(team: Team, bob: User) -> Run:
    run = make_run(team, bob)
    put_outputs(run, ESTIMATOR_OUTPUTS)
    return run


def register(client: Client, by: User, run: Run, path: str) -> Any:
    data = {"run": run.number, "path": path, "name": "m"}
    return client.post(MODELS, data, content_type="application/json", headers=bearer(by))


def test_d9_of_numbered_exports_beside_a_temporary_one_the_newest_is_meant(
    client: Client, bob: User, estimator_run: Run
) -> None:
    answer = register(client, bob, estimator_run, "outputs/export/latest")
    assert answer.status_code == 201, answer.content
    assert answer.json()["path"] == "outputs/export/latest/1590000200"


ASKS_WHICH_EXPORTER = (
    "There are 2 SavedModels. Name one of them as the path:\n"
    "{0}export/best (newest: 1590000000)\n"
    "{0}export/latest (newest: 1590000200)"
)


def test_d9_of_several_exporters_none_is_guessed(
    client: Client, bob: User, estimator_run: Run
) -> None:
    answer = register(client, bob, estimator_run, "outputs")
    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {"field": "path", "message": ASKS_WHICH_EXPORTER.format("outputs/")}
    ]


@pytest.mark.parametrize("pack", [as_zip, as_tar_gz])
def test_d9_the_same_in_an_archive(client: Client, bob: User, team: Team, pack: Any) -> None:
    files = {path.removeprefix("outputs/"): content for path, content in ESTIMATOR_OUTPUTS.items()}
    name = "m.zip" if pack is as_zip else "m.tar.gz"
    archive = SimpleUploadedFile(name, pack(files).read())
    answer = client.post(MODELS, {"name": "m", "archive": archive}, headers=bearer(bob))
    assert answer.json()["errors"][0]["message"] == ASKS_WHICH_EXPORTER.format("")


def test_d9_a_temporary_folder_is_damaged_when_it_is_named(
    client: Client, bob: User, estimator_run: Run
) -> None:
    answer = register(client, bob, estimator_run, "outputs/export/latest/temp-1590000300")
    assert answer.status_code == 400
    assert "saved_model.pb is damaged" in answer.json()["errors"][0]["message"]


def test_d9_the_page_offers_no_temporary_folder_and_the_newest_first_of_all(
    client: Client, bob: User, estimator_run: Run
) -> None:
    put_outputs(estimator_run, model_files("outputs/export/latest/999"))
    client.force_login(bob)
    page = client.get(f"/t/default/models/register/?run={estimator_run.number}").content.decode()
    assert "temp-1590000300" not in page
    assert '<option value="outputs/export/latest/1590000200" selected' in page


TREES = {
    "the highest number, not the longest name": (["9", "0010", "temp-11"], "", "0010"),
    "a name beside numbers": (["m/1", "m/final"], "m", "m/1"),
    "a model below a name beside numbers": (["m/1", "m/best/7"], "m", "m/1"),
    "digits of another script": (["m/1", "m/\u0663"], "m", "m/1"),
    "a number that no version can be": (["m/1", f"m/{2**63}"], "m", "m/1"),
    "a model inside a model": (["m", "m/assets.extra/inner"], "", "m"),
    "one model far below": (["a/b/c"], "a", "a/b/c"),
}
UNCLEAR_TREES = {
    "two bases": (["a/1", "a/2", "b/3"], "", "a (newest: 2)\nb (newest: 3)"),
    "an export that was cut short": (["m/temp-1"], "m", "only an export that was cut short"),
    "a newer number without a graph": (["m/1", "m/2/x"], "m", "m/2 has the highest number"),
}


def graph_files(folders: list[str]) -> list[str]:
    """Return a graph file for each folder, or another file where its name ends in x."""
    names = {True: "notes.txt", False: "saved_model.pb"}
    return [f"{folder}/{names[folder.endswith('x')]}" for folder in folders]


@pytest.mark.parametrize("case", TREES)
def test_d9_a_path_means_what_tensorflow_serving_loads(case: str) -> None:
    folders, within, expected = TREES[case]
    paths = graph_files(folders)
    assert choose(candidates(paths, within), paths) == expected


@pytest.mark.parametrize("case", UNCLEAR_TREES)
def test_d9_a_path_that_means_nothing_that_can_be_served_is_refused(case: str) -> None:
    folders, within, words = UNCLEAR_TREES[case]
    paths = graph_files(folders)
    with pytest.raises(Invalid) as refused:
        choose(candidates(paths, within), paths)
    assert words in str(refused.value)


FOLDER_NAMES = st.sampled_from(["1", "02", "10", "best", "temp-7", "assets"])
FOLDERS = st.lists(FOLDER_NAMES, min_size=1, max_size=4).map("/".join)


@settings(max_examples=100)
@given(
    files=st.lists(
        st.tuples(FOLDERS, st.sampled_from(["saved_model.pb", "notes.txt"])).map("/".join),
        min_size=1,
    ),
    within=FOLDERS | st.just(""),
)
def test_d9_what_is_chosen_is_what_is_served(files: list[str], within: str) -> None:
    try:
        chosen = choose(candidates(files, within), files)
    except Invalid:
        return
    assert f"{chosen}/saved_model.pb" in files
    served = _served_from(within, files)
    if served:
        assert chosen == served


def _served_from(base: str, files: list[str]) -> str:
    """Return the folder that TensorFlow Serving loads from a model's base path, if it has any."""
    start = f"{base}/" if base else ""
    if f"{start}saved_model.pb" in files:
        return base  # not a base path, but a version
    names = {
        path.removeprefix(start).partition("/")[0]
        for path in files
        if path.startswith(start) and "/" in path.removeprefix(start)
    }
    versions = [name for name in names if name.isdecimal()]
    newest = max(versions, key=int, default="")
    return f"{start}{newest}" if f"{start}{newest}/saved_model.pb" in files else ""


@pytest.mark.parametrize("name", ["a\0b", "\0"])
def test_d7_a_name_that_no_database_holds_is_refused(
    client: Client, bob: User, team: Team, name: str
) -> None:
    answer = upload(client, bob, with_graphs(graph_file(signature_name=name)))
    assert answer.status_code == 400
    assert "a name in it holds a NUL character" in answer.json()["errors"][0]["message"]
    told = upload(client, bob, with_graphs(graph_file(signature_name="\\u0000")))
    assert list(told.json()["signatures"]) == ["\\u0000"]


GRAPH = graph_file(ops=("InitializeTableFromTextFileV2", "PrintV2"), assets=("words.txt",))


@settings(max_examples=100)
@given(place=st.integers(0, len(GRAPH)), cut=st.integers(0, 9), put=st.binary(max_size=4))
def test_d7_whatever_the_bytes_of_a_graph_are_they_are_read_or_damaged(
    place: int, cut: int, put: bytes
) -> None:
    try:
        told = describe(GRAPH[:place] + put + GRAPH[place + cut :])
    except (DecodeError, ValueError):
        return
    assert json.loads(json.dumps(told)) == told
