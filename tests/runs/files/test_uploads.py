"""Files that are put among a run's outputs over REST, with processes and without."""

import hashlib
import io
import zipfile
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from runs.deletion import finish_deletion
from runs.files.folders import run_folder
from runs.files.store import DeclaredFile, missing_outputs, store_output
from runs.files.uploads import receive_file
from runs.models import Process, Run
from runs.source.blobs import temporary_file
from runs.states import RunStatus
from runs.tracking import NewTrackedRun, track_run
from tests.factories import bearer, make_group, make_run, make_team
from workspace.models import Team

pytestmark = pytest.mark.django_db
PATH = "outputs/model/weights.bin"


class Files:
    """The files of a run, over REST."""

    def __init__(self, client: Client, user: User, run: Run) -> None:
        self._client, self._headers = client, bearer(user)
        self._base = f"/api/v1/teams/{run.team.slug}/runs/{run.number}"

    def put(self, path: str, content: bytes) -> Any:
        return self._client.put(
            f"{self._base}/files/{path}",
            content,
            content_type="application/octet-stream",
            headers=self._headers,
        )

    def delete(self, path: str) -> Any:
        return self._client.delete(f"{self._base}/files/{path}", headers=self._headers)

    def get(self, path: str) -> Any:
        return self._client.get(f"{self._base}/{path}", headers=self._headers)

    def listed(self) -> dict[str, str]:
        return {file["path"]: file["process"] for file in self.get("files").json()["files"]}


@pytest.fixture
def tracked(team: Team, bob: User) -> Run:
    return track_run(team=team, by=bob, given=NewTrackedRun(experiment="digits"))


@pytest.fixture
def files(client: Client, bob: User, tracked: Run) -> Files:
    return Files(client, bob, tracked)


def put_by_process(process: Process, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    with temporary_file() as (place, file):
        file.write(content)
        file.flush()
        store_output(process, DeclaredFile(PATH, len(content), digest), place)


def test_a_file_of_a_tracked_run_is_new_then_replaced(files: Files, tracked: Run) -> None:
    first = files.put(PATH, b"weights")
    assert first.status_code == 201
    assert first.json() == {
        "path": PATH,
        "size": 7,
        "sha256": hashlib.sha256(b"weights").hexdigest(),
    }
    assert files.put(PATH, b"better weights").status_code == 200
    assert files.listed() == {PATH: ""}
    assert b"".join(files.get(f"files/{PATH}")) == b"better weights"
    assert files.get(f"preview/{PATH}").json()["text"] == "better weights"
    packed = b"".join(files.get("files.zip").streaming_content)
    assert zipfile.ZipFile(io.BytesIO(packed)).read(PATH) == b"better weights"


def test_a_file_is_put_after_the_end_and_shown_on_the_page(
    files: Files, tracked: Run, client: Client, bob: User
) -> None:
    Run.objects.filter(pk=tracked.pk).update(status=RunStatus.COMPLETED)
    files.put("outputs/notes.txt", b"as planned")
    client.force_login(bob)
    page = f"/t/{tracked.team.slug}/runs/{tracked.number}/outputs/?path=outputs/notes.txt"
    assert "as planned" in client.get(page).content.decode()


def test_a_broken_upload_leaves_what_was_there(files: Files, tracked: Run) -> None:
    files.put(PATH, b"weights")
    pieces = iter([b"half"])

    def read(_: int) -> bytes:
        try:
            return next(pieces)
        except StopIteration:
            raise OSError("the connection was lost") from None

    with pytest.raises(OSError, match="lost"):
        receive_file(tracked, PATH, read)
    assert b"".join(files.get(f"files/{PATH}")) == b"weights"


@pytest.mark.parametrize(
    "path", ["model.bin", "logs/worker-0/x", "outputs/a%5Cb", "outputs//x", "outputs/%01"]
)
def test_a_path_outside_the_outputs_is_refused(files: Files, path: str) -> None:
    refused = files.put(path, b"x")
    assert refused.status_code == 400
    assert "can't be used" in refused.json()["detail"]
    assert files.listed() == {}


def test_a_file_is_no_folder(files: Files) -> None:
    files.put(PATH, b"weights")
    assert files.put("outputs/model", b"x").status_code == 400
    assert files.put(f"{PATH}/x", b"x").status_code == 400
    assert files.listed() == {PATH: ""}


def test_what_is_kept_of_a_run_has_a_limit(files: Files, settings: Settings) -> None:
    settings.TRAINYARD_RUN_MAX_BYTES = 1000
    assert files.put(PATH, b"x" * 600).status_code == 201
    for content in (b"x" * 600, b"x" * 1001):
        refused = files.put("outputs/more", content)
        assert refused.status_code == 413
        assert "TRAINYARD_RUN_MAX_BYTES" in refused.json()["detail"]
    assert files.put(PATH, b"x" * 900).status_code == 200
    assert files.delete(PATH).status_code == 204
    assert files.put("outputs/more", b"x" * 600).status_code == 201


def test_a_file_is_deleted(files: Files, tracked: Run) -> None:
    files.put(PATH, b"weights")
    assert files.delete(PATH).status_code == 204
    assert files.listed() == {}
    assert files.get(f"files/{PATH}").status_code == 404
    assert files.delete(PATH).status_code == 404
    assert list((run_folder(tracked.pk) / "outputs").iterdir()) == []


def test_only_members_put_and_delete_files(
    files: Files, client: Client, vera: User, charlie: User, tracked: Run
) -> None:
    files.put(PATH, b"weights")
    make_team("others", member=charlie)
    for user, status in ((vera, 403), (charlie, 404)):
        other = Files(client, user, tracked)
        assert other.put(PATH, b"x").status_code == status
        assert other.delete(PATH).status_code == status
    assert b"".join(files.get(f"files/{PATH}")) == b"weights"


def test_a_run_with_processes_has_files_of_both(client: Client, team: Team, bob: User) -> None:
    run = make_run(team, bob, RunStatus.RUNNING)
    process = make_group(run).processes.get()
    files = Files(client, bob, run)
    put_by_process(process, b"of the process")
    files.put("outputs/notes.txt", b"of bob")
    assert files.listed() == {PATH: "worker-0", "outputs/notes.txt": ""}
    assert files.delete(PATH).status_code == 409
    assert files.put(PATH, b"of bob").status_code == 200
    assert files.listed() == {PATH: "", "outputs/notes.txt": ""}
    again = DeclaredFile(PATH, 14, hashlib.sha256(b"of the process").hexdigest())
    assert missing_outputs(process, [again]) == [PATH]
    put_by_process(process, b"of the process")
    assert files.listed() == {PATH: "worker-0", "outputs/notes.txt": ""}
    Run.objects.filter(pk=run.pk).update(status=RunStatus.COMPLETED)
    assert files.delete(PATH).status_code == 204


def test_the_files_go_with_their_run(files: Files, tracked: Run, client: Client, bob: User) -> None:
    files.put(PATH, b"weights")
    address = f"/api/v1/teams/{tracked.team.slug}/runs/{tracked.number}"
    client.patch(
        address, {"status": "Completed"}, content_type="application/json", headers=bearer(bob)
    )
    assert client.delete(address, headers=bearer(bob)).status_code == 204
    assert files.put(PATH, b"late").status_code == 404
    finish_deletion(tracked.pk)
    assert not run_folder(tracked.pk).exists()
