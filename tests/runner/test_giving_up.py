"""What a runner repeats, what it gives up at once, and what ends it."""

import shutil
import time
from pathlib import Path

import pytest

from runner import procfs
from runner.http_client import ProcessFenced, RequestRefused
from runner.logs import RankLogUploader
from runner.process_directory import ProcessDirectory
from runner.server_connection import ServerConnection
from runner.termination import read_termination
from tests.runner.stage import Group, one, python
from tests.runner.test_program import is_alive
from tests.runner.web import FakeServer, Trouble, spec, until

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
WRITES = """
import time
open("logs/a", "w").write("a")
open("outputs/b", "w").write("b")
print("line", flush=True)
time.sleep(0.3)
"""


@pytest.fixture
def connection(web: FakeServer, tmp_path: Path) -> ServerConnection:
    web.expect("token", spec=spec(["true"]))
    return ServerConnection(web.url, "token", "", str(tmp_path))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses that a connection makes, none of which takes time."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def asked(connection: ServerConnection) -> object:
    http = connection.open()
    try:
        return connection.call(http, "GET", "spec")
    finally:
        http.close()


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(500, "The server failed."),
        Trouble(503, "The store failed."),
        Trouble(507, "No space left on device"),
        Trouble(401, "This needs the token of a process."),
        Trouble(408, "Too slow."),
        Trouble(429, "Too many requests."),
        Trouble(502),
        Trouble(404),
        Trouble(403),
        Trouble(302),
        Trouble(409),
    ],
)
def test_what_another_try_can_change_is_tried_again(
    connection: ServerConnection, web: FakeServer, pauses: list[float], trouble: Trouble
) -> None:
    answers = iter([trouble] * 20)
    web.trouble = lambda process, path: next(answers, None)
    assert asked(connection) == web.told["token"].spec
    assert len(pauses) == 20
    assert max(pauses) == 2.0


def test_the_server_says_when_to_try_again(
    connection: ServerConnection, web: FakeServer, pauses: list[float]
) -> None:
    answers = iter(
        [Trouble(429, "Wait.", retry_after=wait) for wait in ("7", "9999", "soon", "-1")]
    )
    web.trouble = lambda process, path: next(answers, None)
    asked(connection)
    assert pauses[:2] == [7, 60]
    assert max(pauses[2:]) < 2


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
def test_what_the_server_refuses_in_its_own_words_is_given_up_at_once(
    connection: ServerConnection, web: FakeServer, pauses: list[float], status: int
) -> None:
    web.trouble = lambda process, path: Trouble(status, "Not this one.")
    with pytest.raises(RequestRefused, match=r"Not this one\."):
        asked(connection)
    assert not pauses


def test_a_process_that_was_replaced_ends_every_call(
    connection: ServerConnection, web: FakeServer, pauses: list[float]
) -> None:
    web.trouble = lambda process, path: Trouble(409, "Replaced.")
    with pytest.raises(ProcessFenced):
        asked(connection)
    with pytest.raises(ProcessFenced):
        asked(connection)
    assert len(web.told["token"].calls) == 1


def test_a_removed_directory_ends_every_call(web: FakeServer, tmp_path: Path) -> None:
    directory = tmp_path / "worker-0"
    directory.mkdir()
    web.expect("token", spec=spec(["true"]))
    connection = ServerConnection(web.url, "token", "", str(directory))

    def remove(process: str, path: str) -> int:
        shutil.rmtree(directory, ignore_errors=True)
        return 503

    web.trouble = remove
    with pytest.raises(ProcessFenced, match="removed"):
        asked(connection)


@pytest.mark.processes
@pytest.mark.parametrize(
    "refused",
    [
        "source",
        "ready",
        "started",
        "beat",
        "log",
        "file",
        "outputs",
        "output",
        "exit",
        "collected",
    ],
)
def test_a_runner_ends_whatever_is_refused_and_the_rest_is_stored(
    yard: Path, web: FakeServer, refused: str
) -> None:
    web.trouble = lambda process, path: 400 if path == refused else None
    group, told = one(yard, web, WRITES, source=refused == "source")
    until(lambda: group.backend.observe(group.label)[0].state != "alive", "the runner ends")
    (seen,) = group.backend.observe(group.label)
    assert seen.state == "exited"
    if refused in ("source", "ready"):
        assert seen.exit_code == 1
        assert seen.reason == "could not be prepared: trouble"
        assert b"cannot be prepared: trouble" in told.log
    else:
        assert seen.exit_code == 0
    kept = {
        "log": b"line\n" in told.log,
        "file": told.files == {"logs/a": b"a"},
        "output": told.outputs == {"outputs/b": b"b"},
        "exit": told.ending is not None,
        "collected": told.collected,
    }
    if refused not in ("source", "ready"):
        lost = {"outputs": "output"}.get(refused, refused)
        assert kept == {what: what != lost for what in kept}


def test_the_log_of_one_rank_is_sent_whole_though_that_of_another_is_refused(
    connection: ServerConnection, web: FakeServer, tmp_path: Path
) -> None:
    for rank in ("0", "1"):
        (tmp_path / f"{rank}.log").write_bytes(b"line\n" * 500_000)
    refusals = iter([400])
    web.trouble = lambda process, path: next(refusals, None)
    ranks = RankLogUploader(connection, str(tmp_path), is_resumed=False)
    ranks.start()
    with pytest.raises(RequestRefused):
        ranks.finish()
    assert web.told["token"].log == b"line\n" * 500_000


@pytest.mark.processes
def test_a_token_that_is_not_known_for_a_while_stops_nothing(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, "import time\nfor n in range(40): print(n); time.sleep(0.05)")
    until(lambda: told.started)
    (token,) = web.told
    del web.told[token]
    until(lambda: (group.folder() / "exit.json").exists(), "the program ends by itself")
    ending = read_termination(str(group.folder() / "exit.json"))
    assert ending is not None
    assert ending.exit_code == 0
    web.told[token] = told
    group.until_collected()
    assert told.log.split() == [b"%d" % n for n in range(40)]


@pytest.mark.processes
def test_a_runner_whose_directory_is_removed_ends_with_its_program(
    yard: Path, web: FakeServer
) -> None:
    group, told = one(yard, web, SLEEPS)
    until(lambda: told.started)
    runner = runner_of(group)
    shutil.rmtree(yard / "local", ignore_errors=True)
    until(lambda: not is_alive(told.started or 0), "the program is gone")
    until(lambda: not is_alive(runner), "the runner is gone")


@pytest.mark.processes
def test_a_runner_whose_directory_is_removed_waits_for_nobody(yard: Path, web: FakeServer) -> None:
    web.go = False
    group = Group(
        yard,
        web,
        [spec(python(SLEEPS)), spec(python(SLEEPS), peers=["worker-9.invalid"])],
    ).start()
    until(lambda: group.told[0].calls.count("beat") > 1, "one is at the barrier")
    until(lambda: "spec" in group.told[1].calls, "one waits for a name")
    runners = [runner_of(group, 0), runner_of(group, 1)]
    shutil.rmtree(yard / "local", ignore_errors=True)
    until(lambda: not any(map(is_alive, runners)), "both runners are gone")


@pytest.mark.processes
def test_a_runner_whose_directory_is_removed_does_not_wait_for_the_server(
    yard: Path, web: FakeServer
) -> None:
    group, told = one(yard, web, "print('done')", head_start_seconds=0.5)
    until(lambda: told.ready)
    runner = runner_of(group)
    web.close()
    until(lambda: (group.folder() / "exit.json").exists(), "the program ends")
    shutil.rmtree(yard / "local", ignore_errors=True)
    until(lambda: not is_alive(runner), "the runner is gone")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"[" * 100_000,
        b'{"exit_code": "0"}',
        b'{"exit_code": true}',
        b'{"exit_code": -1}',
        b'{"exit_code": 100000000000000000000}',
        b'{"exit_code": 0, "reason": "' + b"x" * 3_000_000 + b'"}',
    ],
)
def test_a_record_that_makes_no_sense_is_none(tmp_path: Path, content: bytes) -> None:
    folder = ProcessDirectory(str(tmp_path))
    Path(folder.exit_record).write_bytes(content)
    assert read_termination(folder.exit_record) is None


def test_a_long_reason_is_cut_where_it_is_read(tmp_path: Path) -> None:
    folder = ProcessDirectory(str(tmp_path))
    Path(folder.exit_record).write_text(f'{{"exit_code": 3, "reason": "{"x" * 5000}"}}')
    ending = read_termination(folder.exit_record)
    assert ending is not None
    assert ending.exit_code == 3
    assert len(ending.reason) == 2000


def runner_of(group: Group, index: int = 0) -> int:
    """Return the number of the runner of a process."""
    mark = f"TRAINYARD_RUNNER_DIR={group.folder(index)}\0".encode()
    return min(process.pid for process in procfs.processes_with_variable(mark))
