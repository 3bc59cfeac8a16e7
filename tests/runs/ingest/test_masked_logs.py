"""What a runner sends of an attempt with secrets is masked before anyone can read it."""

import json

import pytest

from runs.config import RunConfig
from runs.distribution import Distribution, Mode
from runs.events import ProcessExited
from runs.files.folders import logs_folder
from runs.logs.log_file import log_of
from runs.models import Process, ProcessGroup, Run, RunEvent
from tests.runs.ingest.runner_calls import Runner, database_threads, process_of, running
from workspace.models import Team
from workspace.platform.encryption import encrypt

__all__ = ["database_threads"]
pytestmark = pytest.mark.usefixtures("database_threads")
SECRET = "correct-horse-battery"


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    group = running(team, "worker-0", "worker-1")
    four_ranks = RunConfig(
        experiment="digits",
        entry_script="train.py",
        node_count=2,
        distributed_training=Distribution(type=Mode.MPI, process_count_per_node=2),
    )
    Run.objects.update(config=four_ranks.to_json())
    given = {"given": {"KEY": {"value": SECRET, "file": ""}}, "shown": []}
    ProcessGroup.objects.update(encrypted_secrets=encrypt(json.dumps(given)))
    return group


async def send(runner: Runner, path: str, content: str, *, end: int) -> str:
    """Send what a program wrote as a runner does: from where the server says, up to the end."""
    size = 0
    for until in (end, len(content), len(content)):
        mark = "&end=1" if until == len(content) else ""
        answer = await runner.post(
            f"{path}offset={size}{mark}", content=content[size:until].encode()
        )
        assert answer.status_code == 200
        size = answer.json()["size"]
    assert size == len(content)
    return content.replace(SECRET, "*" * len(SECRET))


@pytest.mark.parametrize("end", [0, 5, 8, 20, 28, 40])
async def test_the_log_of_a_process_and_of_a_rank(group: ProcessGroup, end: int) -> None:
    runner = Runner(process_of(group))
    content = f"it is {SECRET}, it is {SECRET}"

    masked = await send(runner, "log?", content, end=end)
    await send(runner, "log?rank=3&", content, end=end)

    assert log_of(group.label, "worker-0").read(0, 1000).decode() == masked
    assert log_of(group.label, "rank-3").read(0, 1000).decode() == masked


async def test_no_reader_sees_a_part_of_a_secret_that_came_half(group: ProcessGroup) -> None:
    runner = Runner(process_of(group))

    answer = await runner.post("log?offset=0", content=f"it is {SECRET[:10]}".encode())

    assert answer.json() == {"size": 6}
    assert log_of(group.label, "worker-0").read(0, 1000) == b"it is "


async def test_files_under_logs_but_not_event_files(group: ProcessGroup) -> None:
    runner = Runner(process_of(group))
    content = f"a {SECRET}\n"

    masked = await send(runner, "file?path=logs/train.txt&", content, end=9)
    await send(runner, "file?path=logs/events.out.tfevents.1.host&", content, end=len(content))

    folder = logs_folder(group.label, "worker-0") / "logs"
    assert (folder / "train.txt").read_text() == masked
    assert (folder / "events.out.tfevents.1.host").read_text() == content


async def test_the_reason_of_an_exit(group: ProcessGroup) -> None:
    runner = Runner(process_of(group))

    body = {"exit_code": 127, "reason": f"could not start ./{SECRET}"}
    assert (await runner.post("exit", json=body)).status_code == 200

    process = await Process.objects.aget(pk=process_of(group).pk)
    event = await RunEvent.objects.aget(type=ProcessExited.type)
    assert process.exit_reason == f"could not start ./{'*' * len(SECRET)}"
    assert SECRET not in str(event.data)


async def test_the_runner_gets_the_values_beside_the_environment(group: ProcessGroup) -> None:
    await Process.objects.aupdate(launch={"command": ["python", "train.py"], "environment": {}})

    told = (await Runner(process_of(group)).get("spec")).json()

    assert told["secrets"] == {"KEY": {"value": SECRET, "file": ""}}
    assert SECRET not in str(told | {"secrets": None})


async def test_where_secrets_cannot_be_read_any_more_all_text_is_covered(
    group: ProcessGroup,
) -> None:
    await ProcessGroup.objects.aupdate(encrypted_secrets="of another SECRET_KEY")
    runner = Runner(process_of(group))

    answer = await runner.post("log?offset=0", content=b"one\ntwo\n")

    assert answer.json() == {"size": 8}
    assert log_of(group.label, "worker-0").read(0, 100) == b"***\n***\n"
