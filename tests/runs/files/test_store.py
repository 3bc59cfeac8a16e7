"""Outputs and files under logs/: shipped safely, listed, served."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import AsyncClient, Client
from pytest_django import Settings

from runs.files.folders import logs_folder
from runs.files.store import file_of, files_of, outputs_of
from runs.models import Process, ProcessGroup, Run
from tests.factories import bearer, make_group
from tests.runs.ingest.runner_calls import Runner, database_threads, process_of, running
from workspace.models import Team
from workspace.platform.database_threads import run_in_database_thread
from workspace.platform.errors import NotFound

__all__ = ["database_threads"]
pytestmark = pytest.mark.usefixtures("database_threads")


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    return running(team, "worker-0", "worker-1")


def run_of(group: ProcessGroup) -> Run:
    assert group.run is not None
    return group.run


async def send_output(
    process: Process, path: str, content: bytes, **changes: Any
) -> httpx.Response:
    query = {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return await Runner(process).put("output", params=query | changes, content=content)


async def announce(process: Process, path: str, content: bytes) -> list[str]:
    file = {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    answer = await Runner(process).post("outputs", json={"files": [file]})
    missing: list[str] = answer.json()["missing"]
    return missing


async def outputs_held(group: ProcessGroup) -> dict[str, bytes]:
    held = await run_in_database_thread(outputs_of, run_of(group))
    return {file.path: file.location.read_bytes() for file in held}


async def test_an_output_is_stored_and_not_asked_for_again(group: ProcessGroup) -> None:
    process = process_of(group)
    assert await announce(process, "outputs/a/model.pb", b"weights") == ["outputs/a/model.pb"]
    answer = await send_output(process, "outputs/a/model.pb", b"weights")
    assert answer.json() == {"stored": True}
    assert await announce(process, "outputs/a/model.pb", b"weights") == []
    assert await announce(process, "outputs/a/model.pb", b"changed") == ["outputs/a/model.pb"]
    assert await outputs_held(group) == {"outputs/a/model.pb": b"weights"}


async def test_an_output_of_several_megabytes_arrives_whole(group: ProcessGroup) -> None:
    content = bytes(range(256)) * 20_000
    await send_output(process_of(group), "outputs/big", content)
    assert await outputs_held(group) == {"outputs/big": content}


@pytest.mark.parametrize(
    "path",
    [
        "outputs/../../secret_key",
        "/etc/passwd",
        "outputs//x",
        "outputs/./x",
        "outputs",
        "outputs/",
        "other/x",
        "outputs/a\0b",
        "outputs/a\\b",
        "outputs/" + "x" * 300,
        "outputs/" + "d/" * 200 + "x",
        "C:\\x",
        "",
    ],
)
async def test_a_path_that_leads_elsewhere_is_refused(group: ProcessGroup, path: str) -> None:
    runner = Runner(process_of(group))
    assert (await send_output(process_of(group), path, b"x")).status_code == 400
    assert await outputs_held(group) == {}
    logs = await runner.post(
        "file", params={"path": path.replace("outputs", "logs"), "offset": 0}, content=b"x"
    )
    assert logs.status_code == 400


GOOD = {"path": "outputs/good", "size": 4, "sha256": hashlib.sha256(b"good").hexdigest()}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"path": "outputs/figs\\loss.png"}, "backslash"),
        ({"path": "outputs/two\nlines"}, "control character"),
        ({"path": "outputs/a\ttab"}, "control character"),
        ({"path": "outputs/a\0b"}, "NUL"),
        ({"path": "outputs/\udcff"}, "UTF-8"),
        ({"path": "outputs/" + "long/" * 250}, "1000 bytes"),
        ({"path": "outputs/" + "d/" * 120 + "x"}, "100 folders"),
        ({"path": "outputs/../secret_key"}, "leads out"),
        ({"path": "logs/x"}, "not below outputs/"),
        ({"path": 7}, "path"),
        ({"size": -1}, "size"),
        ({"size": 10**20}, "larger"),
        ({"size": True}, "size"),
        ({"size": 1.5}, "size"),
        ({"size": None}, "size"),
        ({"sha256": "zz"}, "sha256"),
        ({"sha256": None}, "sha256"),
    ],
)
async def test_each_file_of_a_list_is_judged_by_itself(
    group: ProcessGroup, changes: dict[str, Any], reason: str
) -> None:
    odd = GOOD | {"path": "outputs/odd"} | changes
    body = json.dumps({"files": [odd, GOOD, "no file", None]}).encode()
    answer = await Runner(process_of(group)).post("outputs", content=body)
    assert answer.status_code == 200
    said = answer.json()
    assert said["missing"] == ["outputs/good"]
    refused, *nameless = said["refused"]
    assert refused["path"] == (odd["path"] if isinstance(odd["path"], str) else "")
    assert reason in refused["reason"]
    assert len(nameless) == 2


@pytest.mark.parametrize(
    "changes", [{"sha256": "0" * 64}, {"sha256": "zz"}, {"size": 3}, {"size": 100}, {"size": "x"}]
)
async def test_an_output_that_is_not_what_was_announced_is_not_kept(
    group: ProcessGroup, home: Path, changes: dict[str, Any]
) -> None:
    answer = await send_output(process_of(group), "outputs/x", b"bytes", **changes)
    assert answer.status_code in {400, 413}
    assert await outputs_held(group) == {}
    assert not any((home / "uploads").glob("*"))


async def test_the_deciding_process_wins_a_path_whoever_comes_first(group: ProcessGroup) -> None:
    chief, other = process_of(group, "worker-0"), process_of(group, "worker-1")
    assert (await send_output(other, "outputs/x", b"other")).json() == {"stored": True}
    assert (await send_output(chief, "outputs/x", b"chief")).json() == {"stored": True}
    assert await announce(other, "outputs/x", b"other") == []
    assert (await send_output(other, "outputs/x", b"other")).json() == {"stored": False}
    assert await outputs_held(group) == {"outputs/x": b"chief"}


async def test_a_fenced_attempt_cannot_overwrite_outputs_of_the_next(group: ProcessGroup) -> None:
    old = process_of(group, "worker-0")
    runner = Runner(old)
    assert (await runner.post("beat", json={})).status_code == 200

    def next_attempt() -> Process:
        ProcessGroup.objects.update(is_fenced=True)
        return make_group(run_of(group)).processes.get()

    new = await run_in_database_thread(next_attempt)
    assert (await send_output(new, "outputs/x", b"new")).json() == {"stored": True}
    assert (await send_output(old, "outputs/x", b"old")).status_code == 409
    assert await outputs_held(group) == {"outputs/x": b"new"}


async def test_a_path_cannot_be_a_file_and_a_folder(group: ProcessGroup) -> None:
    process = process_of(group)
    await send_output(process, "outputs/a", b"file")
    assert (await send_output(process, "outputs/a/b", b"x")).status_code == 400
    await send_output(process, "outputs/d/e", b"file")
    assert (await send_output(process, "outputs/d", b"x")).status_code == 400
    assert await outputs_held(group) == {"outputs/a": b"file", "outputs/d/e": b"file"}


async def test_the_files_of_a_run_have_a_limit(group: ProcessGroup, settings: Settings) -> None:
    settings.TRAINYARD_RUN_MAX_BYTES = 10
    process = process_of(group)
    assert (await send_output(process, "outputs/a", b"12345678")).status_code == 200
    refused = await send_output(process, "outputs/b", b"12345678")
    assert refused.status_code == 413
    assert (await send_output(process, "outputs/a", b"123456789")).status_code == 200
    assert set(await outputs_held(group)) == {"outputs/a"}


async def test_files_under_logs_are_appended_like_logs_and_may_begin_anew(
    group: ProcessGroup,
) -> None:
    runner = Runner(process_of(group))

    async def send(offset: int, content: bytes, **more: Any) -> int:
        query = {"path": "logs/train/events", "offset": offset, **more}
        size: int = (await runner.post("file", params=query, content=content)).json()["size"]
        return size

    assert await send(0, b"abc") == 3
    assert await send(0, b"abcdef") == 6
    assert await send(9, b"x") == 6
    assert await send(0, b"new", restart=1) == 3
    stored = logs_folder(group.label, "worker-0") / "logs/train/events"
    assert stored.read_bytes() == b"new"
    listed = await run_in_database_thread(files_of, run_of(group))
    assert [(file.path, file.size) for file in listed] == [("logs/worker-0/train/events", 3)]


async def test_nothing_is_written_through_a_link(group: ProcessGroup, tmp_path: Any) -> None:
    folder = logs_folder(group.label, "worker-0") / "logs"
    folder.mkdir(parents=True)
    (folder / "x").symlink_to(tmp_path / "elsewhere")
    answer = await Runner(process_of(group)).post(
        "file", params={"path": "logs/x", "offset": 0}, content=b"x"
    )
    assert answer.status_code == 400
    assert not (tmp_path / "elsewhere").exists()
    assert await run_in_database_thread(files_of, run_of(group)) == []


@pytest.fixture
async def stored(group: ProcessGroup) -> ProcessGroup:
    process = process_of(group)
    await send_output(process, "outputs/model/weights.bin", bytes(range(256)) * 10)
    await send_output(process, "outputs/notes.txt", "Grüße <script>\n".encode())
    await Runner(process).post(
        "file", params={"path": "logs/metrics.jsonl", "offset": 0}, content=b'{"step": 1}\n'
    )
    return group


def get(client: Client, group: ProcessGroup, path: str, user: Any, **headers: str) -> Any:
    number = run_of(group).number
    address = f"/api/v1/teams/{group.team.slug}/runs/{number}/{path}"
    return client.get(address, headers=bearer(user) | headers)


def body_of(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def test_only_a_listed_file_can_be_reached(stored: ProcessGroup) -> None:
    for path in ("outputs/../secret", "outputs/model", "secret_key", "logs/worker-0/../x"):
        with pytest.raises(NotFound):
            file_of(run_of(stored), path)


def test_files_are_listed_with_size_and_digest(
    stored: ProcessGroup, client: Client, vera: Any
) -> None:
    answer = get(client, stored, "files", vera).json()
    assert [(file["path"], file["size"]) for file in answer["files"]] == [
        ("logs/worker-0/metrics.jsonl", 12),
        ("outputs/model/weights.bin", 2560),
        ("outputs/notes.txt", 17),
    ]
    assert answer["total_bytes"] == 2589


def test_a_file_is_served_as_a_download_that_no_browser_runs(
    stored: ProcessGroup, client: Client, vera: Any
) -> None:
    answer = get(client, stored, "files/outputs/notes.txt", vera)
    assert body_of(answer) == "Grüße <script>\n".encode()
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.png", "image/png"),
        ("x.svg", "application/octet-stream"),
        ("x.html", "application/octet-stream"),
    ],
)
async def test_only_pictures_that_hold_no_program_keep_their_type(
    group: ProcessGroup, async_client: AsyncClient, vera: Any, name: str, kind: str
) -> None:
    await send_output(process_of(group), f"outputs/{name}", b"x")
    headers = await run_in_database_thread(bearer, vera)
    address = f"/api/v1/teams/{group.team.slug}/runs/{run_of(group).number}/files/outputs/{name}"
    answer = await async_client.get(address, headers=headers)
    assert answer["Content-Type"] == kind


@pytest.mark.parametrize(
    ("wanted", "status", "first", "length"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=2550-", 206, 2550, 10),
        ("bytes=-5", 206, 2555, 5),
        ("bytes=2000-99999", 206, 2000, 560),
        ("bytes=1-2,4-5", 200, 0, 2560),
        ("lines=1-2", 200, 0, 2560),
    ],
)
def test_a_part_of_a_file_can_be_asked_for(
    stored: ProcessGroup,
    client: Client,
    vera: Any,
    wanted: str,
    status: int,
    first: int,
    length: int,
) -> None:
    content = bytes(range(256)) * 10
    answer = get(client, stored, "files/outputs/model/weights.bin", vera, Range=wanted)
    assert answer.status_code == status
    assert body_of(answer) == content[first : first + length]
    assert answer["Content-Length"] == str(length)


def test_a_part_beyond_the_end_is_answered_416(
    stored: ProcessGroup, client: Client, vera: Any
) -> None:
    answer = get(client, stored, "files/outputs/model/weights.bin", vera, Range="bytes=2560-")
    assert answer.status_code == 416
    assert answer["Content-Range"] == "bytes */2560"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_all_files_come_as_one_archive(
    stored: ProcessGroup, client: Client, vera: Any, kind: str
) -> None:
    answer = get(client, stored, f"files.{kind}", vera)
    content = io.BytesIO(body_of(answer))
    if kind == "zip":
        with zipfile.ZipFile(content) as archive:
            assert archive.testzip() is None
            held = {name: archive.read(name) for name in archive.namelist()}
    else:
        with tarfile.open(fileobj=content) as tar:
            held = {
                member.name: tar.extractfile(member).read()  # type: ignore[union-attr]
                for member in tar.getmembers()
            }
    assert held["outputs/model/weights.bin"] == bytes(range(256)) * 10
    assert set(held) == {
        "logs/worker-0/metrics.jsonl",
        "outputs/model/weights.bin",
        "outputs/notes.txt",
    }


def test_an_archive_may_be_of_one_folder(stored: ProcessGroup, client: Client, vera: Any) -> None:
    answer = get(client, stored, "files.zip?under=outputs/model", vera)
    with zipfile.ZipFile(io.BytesIO(body_of(answer))) as archive:
        assert archive.namelist() == ["outputs/model/weights.bin"]


def test_text_is_previewed_and_what_is_not_text_is_not(
    stored: ProcessGroup, client: Client, vera: Any
) -> None:
    notes = get(client, stored, "preview/outputs/notes.txt", vera).json()
    assert notes == {
        "path": "outputs/notes.txt",
        "size": 17,
        "text": "Grüße <script>\n",
        "is_cut": False,
    }
    assert get(client, stored, "preview/outputs/model/weights.bin", vera).json()["text"] is None


def test_a_stranger_reaches_no_file(stored: ProcessGroup, client: Client, charlie: Any) -> None:
    for path in ("files", "files.zip", "files/outputs/notes.txt", "preview/outputs/notes.txt"):
        assert get(client, stored, path, charlie).status_code == 404
