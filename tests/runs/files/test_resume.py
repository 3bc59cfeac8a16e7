"""Runs that go on from what an earlier one left, and attempts from what the last one kept."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client

from runs.models import Process, ProcessGroup, Run, RunFile
from runs.states import RunStatus
from tests.factories import make_group, make_run, make_team
from tests.runs.ingest.runner_calls import Runner, database_threads, process_of, running
from tests.runs.supervision.supervised_runs import Submit
from workspace.models import ComputeTarget, Team
from workspace.platform.errors import Invalid

__all__ = ["database_threads"]
OUTPUTS = {"outputs/model/weights": b"12", "outputs/note.txt": b"hello"}


def leave_outputs(run: Run, home: Path) -> None:
    process = make_group(run).processes.get()
    for path, content in OUTPUTS.items():
        place = home / "runs" / str(run.pk) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        RunFile.objects.create(run=run, path=path, process=process, size_bytes=len(content))


def unpacked(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = {name: tar.extractfile(name) for name in tar.getnames()}
        return {name: file.read() for name, file in found.items() if file is not None}


@pytest.mark.django_db
def test_a_run_resumes_only_from_one_that_is_over_and_left_something(
    submit: Submit, team: Team, home: Path
):
    def refusal(number: int) -> str:
        with pytest.raises(Invalid) as refused:
            submit(resume_from=number)
        (error,) = refused.value.errors
        assert error.field == "resume_from"
        return error.message

    assert refusal(7) == "Default has no run 7."
    assert "not over yet" in refusal(make_run(team, status=RunStatus.RUNNING).number)
    done = make_run(team, status=RunStatus.FAILED)
    assert "no outputs" in refusal(done.number)
    strangers = make_run(make_team(), status=RunStatus.COMPLETED, number=99)
    leave_outputs(strangers, home)
    assert "no run 99" in refusal(99)
    leave_outputs(done, home)
    assert submit(resume_from=done.number).resumed_from == done


@pytest.mark.django_db
def test_the_form_of_a_new_run_offers_to_resume(
    client: Client, bob: User, home: Path, submit: Submit
):
    run = submit(max_restarts=3)
    leave_outputs(run, home)
    Run.objects.update(status=RunStatus.COMPLETED)
    client.force_login(bob)
    offer = f"/t/default/runs/new/?from={run.number}&amp;resume"
    assert offer in client.get(f"/t/default/runs/{run.number}/").content.decode()
    page = client.get(offer.replace("&amp;", "&")).content.decode()
    assert f'name="resume_from" value="{run.number}"' in page
    assert 'name="max_restarts" value="3"' in page


@pytest.fixture
def group(database_threads: None, team: Team) -> ProcessGroup:
    group = running(team, "worker-0", "worker-1")
    Process.objects.update(launch={"command": ["python", "train.py"], "environment": {}})
    return group


@sync_to_async
def resumes(group: ProcessGroup, home: Path) -> None:
    earlier = make_run(group.team, status=RunStatus.COMPLETED)
    leave_outputs(earlier, home)
    Run.objects.filter(attempts=group).update(resumed_from=earlier)


@sync_to_async
def move_to_a_swarm() -> None:
    ComputeTarget.objects.update(kind="swarm")


async def test_a_runner_is_sent_the_outputs_that_its_run_resumes_from(
    group: ProcessGroup, home: Path
):
    await resumes(group, home)
    runner = Runner(process_of(group))
    assert (await runner.get("spec")).json()["resume"] is True
    assert unpacked((await runner.get("resume")).content) == {
        "model/weights": b"12",
        "note.txt": b"hello",
    }


async def keep(process: Process, path: str, content: bytes) -> int:
    digest = hashlib.sha256(content).hexdigest()
    answer = await Runner(process).put(
        f"checkpoint?path={path}&sha256={digest}&size={len(content)}", content=content
    )
    return answer.status_code


async def test_all_processes_of_the_next_attempt_get_what_each_kept(
    group: ProcessGroup, home: Path
):
    first, second = process_of(group), process_of(group, "worker-1")
    assert await keep(first, "checkpoints/chief/ckpt-1.data", b"one") == 200
    assert await keep(second, "checkpoints/worker-1.txt", b"two") == 200
    assert await keep(second, "checkpoints/old", b"old") == 200
    removed = {"removed": ["checkpoints/old", "checkpoints/never-there"]}
    assert (await Runner(second).post("checkpoints", json=removed)).status_code == 200
    for process in (first, second):
        assert unpacked((await Runner(process).get("checkpoints")).content) == {
            "checkpoints/chief/ckpt-1.data": b"one",
            "checkpoints/worker-1.txt": b"two",
        }


async def test_checkpoints_stay_in_their_folder_and_within_their_limit(
    group: ProcessGroup, settings
):
    process = process_of(group)
    for path in ("checkpoints/../../x", "outputs/x", "/etc/x", "checkpoints"):
        assert await keep(process, path, b"x") == 400
    settings.TRAINYARD_RUN_MAX_BYTES = 4
    assert await keep(process, "checkpoints/a", b"123") == 200
    assert await keep(process, "checkpoints/b", b"123") == 413


async def test_each_removed_checkpoint_is_judged_by_itself(group: ProcessGroup, home: Path):
    process = process_of(group)
    elsewhere = home / "runs" / str(group.run_id) / "outputs" / "x"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text("an output")
    assert await keep(process, "checkpoints/a", b"a") == 200
    assert await keep(process, "checkpoints/folder/b", b"b") == 200
    odd = ["checkpoints/../outputs/x", "/etc/x", "checkpoints", "", "checkpoints/a\\b", "\udcff"]
    odd += ["checkpoints/a/below a file", "checkpoints/folder", f"checkpoints/{'x' * 300}"]
    removed = {"removed": [*odd, "checkpoints/a"]}
    answer = await Runner(process).post("checkpoints", content=json.dumps(removed).encode())
    assert answer.status_code == 200
    assert elsewhere.read_text() == "an output"
    left = (await Runner(process).get("checkpoints")).content
    assert unpacked(left) == {"checkpoints/folder/b": b"b"}


async def test_an_attempt_that_is_over_keeps_no_more_checkpoints(group: ProcessGroup):
    process = process_of(group)
    assert await keep(process, "checkpoints/a", b"x") == 200
    await ProcessGroup.objects.aupdate(is_fenced=True)
    assert await keep(process, "checkpoints/a", b"y") == 409


async def test_only_where_machines_share_no_disk_do_runners_send_checkpoints(
    group: ProcessGroup,
):
    first, second = (Runner(process_of(group, name)) for name in ("worker-0", "worker-1"))
    assert (await first.get("spec")).json()["checkpoints"] is None
    await move_to_a_swarm()
    folder = "/trainyard/checkpoints"
    assert (await first.get("spec")).json()["checkpoints"] == {"folder": folder, "decides": True}
    assert (await second.get("spec")).json()["checkpoints"] == {"folder": folder, "decides": False}
