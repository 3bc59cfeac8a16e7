"""Versions that can't be served: each ends with a sentence, and the good one goes on answering."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.modelserver.errors import Code, ServingError
from deploy.modelserver.loading.model_files import check_memory, size_of_variables
from deploy.modelserver.memory import VariableMemory, memory_left
from tests.waiting import wait_for

from ..serving import ModelServer

pytestmark = pytest.mark.tensorflow

GIB = 2**30


def remove_variables(version: Path) -> None:
    shutil.rmtree(version / "variables")


def remove_values(version: Path) -> None:
    for file in version.glob("variables/variables.data-*"):
        file.unlink()


def fill_with_zeros(version: Path, size: int = 5 * GIB) -> None:
    """Replace the variables' values by zeros, which take no room on the disk."""
    (file,) = version.glob("variables/variables.data-*")
    file.write_bytes(b"")
    os.truncate(file, size)


def make_larger_than_memory(version: Path) -> None:
    fill_with_zeros(version, 1024 * GIB)


def fill_graph_with_zeros(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"")
    os.truncate(version / "saved_model.pb", 5 * GIB)


def cut_graph(version: Path) -> None:
    os.truncate(version / "saved_model.pb", 1000)


def empty(version: Path) -> None:
    shutil.rmtree(version)
    version.mkdir()


def leave(version: Path) -> None:
    """Some models are broken as they were built."""


@dataclass(frozen=True)
class Broken:
    """A version made from a good model, and what its state should say."""

    number: int
    source: str
    damage: Callable[[Path], None]
    code: str
    message: str


BROKEN = [
    Broken(11, "odd", leave, "NOT_FOUND", "Op type not registered 'NoSuchOperation'"),
    Broken(12, "line", remove_variables, "NOT_FOUND", "but variables/variables.index is missing"),
    Broken(13, "line", remove_values, "UNKNOWN", "variables.data-00000-of-00001; No such file"),
    Broken(14, "line", fill_with_zeros, "DATA_LOSS", "Checksum does not match"),
    Broken(15, "line", make_larger_than_memory, "RESOURCE_EXHAUSTED", "variables take 1099.5 GB"),
    Broken(16, "line", fill_graph_with_zeros, "DATA_LOSS", "its graph is 5.4 GB large"),
    Broken(17, "line", cut_graph, "DATA_LOSS", "Error parsing message"),
    Broken(18, "line", empty, "NOT_FOUND", "Could not find SavedModel .pb or .pbtxt"),
]
BARE = 20


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, tensorflow_python: Path, saved_models: Path
) -> Iterator[ModelServer]:
    """A server of all versions of a model, of which the first is good."""
    folder = tmp_path_factory.mktemp("broken")
    base = folder / "line"
    shutil.copytree(saved_models / "line" / "1", base / "1")
    config = folder / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "line" base_path: "{base}"'
        ' model_platform: "tensorflow" model_version_policy { all { } } } }'
    )
    server = ModelServer(
        tensorflow_python,
        folder / "server.log",
        f"--model_config_file={config}",
        "--max_num_load_retries=0",
    )
    try:
        server.wait_until_ready()
        for version in [*BROKEN, Broken(BARE, "bare", leave, "", "")]:
            arriving = folder / "arriving"
            shutil.copytree(saved_models / version.source / "1", arriving)
            version.damage(arriving)
            arriving.rename(base / str(version.number))
        yield server
    finally:
        server.stop()


def outcome(server: ModelServer, number: int) -> dict[str, Any]:
    """Wait until a version has been loaded or has failed."""

    def settled() -> dict[str, Any] | None:
        answer = server.get(f"/v1/models/line/versions/{number}")
        if answer.status != 200:
            return None
        status: dict[str, Any] = answer.json["model_version_status"][0]
        return status if status["state"] in ("AVAILABLE", "END") else None

    return wait_for(settled, f"version {number} to load or fail", seconds=240)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.damage.__name__)
def test_a_broken_version_ends_with_a_clear_error_and_the_good_one_answers(
    server: ModelServer, broken: Broken
) -> None:
    ended = outcome(server, broken.number)

    assert ended["state"] == "END"
    assert ended["status"]["error_code"] == broken.code
    assert broken.message in ended["status"]["error_message"]
    answer = server.post("/v1/models/line/versions/1:predict", {"instances": [2]})
    assert answer.json == {"predictions": [3.0]}
    assert server.post(f"/v1/models/line/versions/{broken.number}:predict", {}).status in (400, 404)


def test_five_gigabytes_of_zeros_do_not_take_the_memory(server: ModelServer) -> None:
    for broken in BROKEN:
        outcome(server, broken.number)

    status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    assert peak < 2 * GIB


def test_a_model_with_no_signature_is_available_and_says_what_it_lacks(
    server: ModelServer,
) -> None:
    assert outcome(server, BARE)["state"] == "AVAILABLE"

    answer = server.post(f"/v1/models/line/versions/{BARE}:predict", {"instances": [2]})

    assert answer.status == 400
    assert answer.error == ('Serving signature name: "serving_default" not found in signature def')
    assert server.get(f"/v1/models/line/versions/{BARE}/metadata").status == 200


def test_variables_larger_than_the_memory_that_is_left_are_refused_with_the_figures(
    tmp_path: Path,
) -> None:
    (tmp_path / "variables").mkdir()
    for shard in range(2):
        file = tmp_path / "variables" / f"variables.data-0000{shard}-of-00002"
        file.touch()
        os.truncate(file, 5 * GIB // 2)

    needed = size_of_variables(tmp_path)

    check_memory(tmp_path, needed, room=5 * GIB)
    with pytest.raises(ServingError) as refused:
        check_memory(tmp_path, needed, room=4 * GIB)

    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert "its variables take 5.4 GB of memory and 4.3 GB are left" in refused.value.message


def test_the_memory_that_is_left_is_at_most_what_the_machine_has() -> None:
    left = memory_left()

    assert left is not None
    assert 0 < left <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_models_that_have_gone_took_is_room_for_the_next_ones() -> None:
    held = VariableMemory()
    held.take(1024 * GIB)
    full = held.room()
    held.give_back(1024 * GIB)
    empty = held.room()

    assert full is not None
    assert empty is not None
    assert full < 1024 * GIB < empty
