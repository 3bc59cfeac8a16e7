"""How programs start, end and are ended under a runner."""

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from runner import procfs
from tests.runner.stage import Group, one, python
from tests.runner.web import FakeServer, spec, until

pytestmark = pytest.mark.processes
IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        {more}
        os.write(1, b"daemon %d\\n" % os.getpid())
        time.sleep(60)
    os._exit(0)
os.wait()
{then}
"""


# The rest goes on in another thread, once the main one has ended: to many tools that is a zombie.
WITHOUT_MAIN_THREAD = """
import ctypes, os, threading, time
def goes_on():
    me = os.getpid()
    while " Z " not in open(f"/proc/{{me}}/stat").read(): time.sleep(0.01)
    {more}
threading.Thread(target=goes_on).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def is_alive(pid: int) -> bool:
    status = procfs.status_of(pid)
    return status is not None and not status.is_zombie


def daemon_of(log: bytes) -> int:
    return next((int(line.split()[1]) for line in log.splitlines() if b"daemon" in line), 0)


def test_a_program_that_ends_well_is_reported_with_its_output(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, "import sys; print('out'); print('err', file=sys.stderr)")
    group.until_collected()
    assert told.log == b"out\nerr\n"
    assert told.ending == {
        "exit_code": 0,
        "reason": "",
        "out_of_memory": False,
        "was_stopped": False,
        "log_size": 8,
    }
    assert told.started


@pytest.mark.parametrize(
    ("script", "exit_code", "reason"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("import os; os.kill(os.getpid(), 9)", 137, "was killed by signal 9 (SIGKILL)"),
        ("import os; os.abort()", 134, "was killed by signal 6 (SIGABRT)"),
        ("import ctypes; ctypes.string_at(0)", 139, "was killed by signal 11 (SIGSEGV)"),
    ],
)
def test_the_way_a_program_ended_is_reported(
    yard: Path, web: FakeServer, script: str, exit_code: int, reason: str
) -> None:
    group, told = one(yard, web, script)
    group.until_collected()
    assert told.ending is not None
    assert told.ending["exit_code"] == exit_code
    assert told.ending["reason"] == reason
    assert not told.ending["out_of_memory"]


def test_a_command_that_does_not_exist_is_named(yard: Path, web: FakeServer) -> None:
    group = Group(yard, web, [spec(["no-such-command"])]).start()
    group.until_collected()
    ending = group.told[0].ending
    assert ending is not None
    assert ending["exit_code"] == 127
    assert "no-such-command" in ending["reason"]
    assert b"cannot start no-such-command" in group.told[0].log


def test_the_program_gets_its_environment_and_no_secret(yard: Path, web: FakeServer) -> None:
    script = "import os, json; print(json.dumps(dict(os.environ)), os.getcwd(), os.listdir())"
    group, told = one(yard, web, script, environment={"TF_CONFIG": "{}", "MINE": "a b"})
    group.until_collected()
    log = told.log.decode()
    assert '"TF_CONFIG": "{}"' in log
    assert '"MINE": "a b"' in log
    assert '"PYTHONUNBUFFERED": "1"' in log
    assert '"TRAINYARD_GROUP": "run-1-1"' in log
    assert f'"VIRTUAL_ENV": "{yard}/environments/plain"' in log
    assert "run-1-1-worker-0" not in log, "the process token is for the runner alone"
    assert "DJANGO_SETTINGS_MODULE" not in log
    assert f"{group.folder()}/work ['outputs', 'logs']" in log.replace(
        "['logs', 'outputs']", "['outputs', 'logs']"
    )


def test_no_program_starts_before_all_are_ready(yard: Path, web: FakeServer) -> None:
    web.go = False
    script = "print('started', flush=True)"
    group = Group(yard, web, [spec(python(script)), spec(python(script))]).start()
    until(lambda: all(told.calls.count("beat") > 2 for told in group.told))
    assert not any(told.started for told in group.told)
    web.go = True
    group.until_collected()
    assert [bytes(told.log) for told in group.told] == [b"started\n", b"started\n"]


def test_a_process_stopped_at_the_barrier_ends_without_starting(
    yard: Path, web: FakeServer
) -> None:
    web.go = False
    group, told = one(yard, web, "print('started')")
    until(lambda: "beat" in told.calls)
    told.stop = True
    group.until_collected()
    assert told.ending is not None
    assert told.ending["reason"] == "was stopped before it started"
    assert not told.log


def test_an_answer_that_says_stop_ends_the_program_gently(yard: Path, web: FakeServer) -> None:
    script = "import time\ntry: print('up', flush=True); time.sleep(60)\nfinally: print('bye')"
    handler = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
    group, told = one(yard, web, f"{handler}{script}")
    until(lambda: told.log)
    told.stop = True
    group.until_collected()
    assert told.log == b"up\nbye\n"
    assert told.ending is not None
    assert told.ending["exit_code"] == 5


def test_a_program_that_ignores_the_stop_is_killed_after_its_grace(
    yard: Path, web: FakeServer
) -> None:
    group, told = one(yard, web, IGNORES_SIGTERM, grace_seconds=0.5)
    until(lambda: told.log)
    told.stop = True
    group.until_collected()
    assert told.ending is not None
    assert told.ending["exit_code"] == 137
    assert "0.5 s after SIGTERM" in told.ending["reason"]


def test_what_a_program_leaves_running_ends_with_it(yard: Path, web: FakeServer) -> None:
    group, told = one(
        yard, web, DAEMON.format(more="", then="while not os.fstat(1).st_size: time.sleep(0.01)")
    )
    group.until_collected()
    daemon = daemon_of(bytes(told.log))
    assert daemon
    assert not is_alive(daemon)
    assert told.ending is not None
    assert told.ending["exit_code"] == 0


@pytest.mark.parametrize("program", ["import time\n{more}", WITHOUT_MAIN_THREAD])
def test_a_program_over_its_memory_limit_is_ended_with_both_numbers(
    yard: Path, web: FakeServer, program: str
) -> None:
    grows = "held = []\n    while True: held.append(b'x' * 5_000_000); time.sleep(0.01)"
    script = program.format(more=grows if "{{" in program else grows.replace("    ", ""))
    group, told = one(yard, web, script, memory_bytes=100 * 10**6)
    group.until_collected()
    assert told.ending is not None
    assert told.ending["out_of_memory"]
    assert told.ending["reason"].endswith("of 100.0 MB allowed")


@pytest.mark.parametrize(
    "script",
    [
        "raise MemoryError",
        'import os, sys; print("what():  std::bad_alloc", file=sys.stderr); os.abort()',
    ],
)
def test_a_program_that_says_it_had_no_memory_is_believed(
    yard: Path, web: FakeServer, script: str
) -> None:
    group, told = one(yard, web, script)
    group.until_collected()
    assert told.ending is not None
    assert told.ending["out_of_memory"]
    assert told.ending["exit_code"]


def test_usage_is_that_of_the_program_and_its_children(yard: Path, web: FakeServer) -> None:
    script = """
import os, time
os.fork()
held = b"x" * 50_000_000
end = time.monotonic() + 2.5
while time.monotonic() < end: pass
"""
    group, told = one(yard, web, script)
    group.until_collected()
    assert max(usage["cpus"] for usage in told.usage) > 0.1
    assert max(usage["memory_bytes"] for usage in told.usage) > 95_000_000


def test_a_replaced_process_is_ended_and_reports_nothing(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, "import time; print('up', flush=True); time.sleep(60)")
    until(lambda: told.started)
    web.trouble = lambda process, path: 409
    until(lambda: not is_alive(told.started or 0), "the fenced program is gone")
    until(lambda: group.backend.observe(group.label)[0].state != "alive")
    assert told.ending is None
    assert not group.backend.recover_outputs(group.label, group.names)


def test_a_killed_runner_takes_its_program_with_it(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, "import time; print('up', flush=True); time.sleep(60)")
    until(lambda: told.started)
    runner = procfs.processes_with_variable(f"TRAINYARD_RUNNER_DIR={group.folder()}".encode())
    parent = next(each for each in runner if each.pid != told.started)
    os.kill(parent.pid, signal.SIGKILL)
    until(lambda: not is_alive(told.started or 0), "the program is gone")


def test_the_python_of_the_runner_needs_no_package(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, "import time; print('up', flush=True); time.sleep(60)")
    until(lambda: told.started)
    maps = "".join(
        Path(f"/proc/{process.pid}/maps").read_text()
        for process in procfs.processes_with_variable(
            f"TRAINYARD_RUNNER_DIR={group.folder()}".encode()
        )
    )
    assert "site-packages" not in maps
    assert sys.version_info >= (3, 11)


def test_a_process_is_not_ready_before_it_knows_the_names_of_the_others(
    yard: Path, web: FakeServer
) -> None:
    group, told = one(yard, web, "print('never')", peers=["worker-1.invalid"])
    until(lambda: "spec" in told.calls, "the spec was asked for")
    group.backend.stop(group.label, timedelta(seconds=5))
    group.until_collected()
    assert told.ending
    assert told.ending["reason"] == "was stopped before it started"
    assert not told.ready
    assert b"never" not in told.log


def test_a_program_starts_its_head_start_later(yard: Path, web: FakeServer) -> None:
    says_when = python("import time; print(time.monotonic())")
    specs = [spec(says_when), spec(says_when, head_start_seconds=2.0)]
    group = Group(yard, web, specs).start()
    group.until_collected()
    first, second = (float(told.log) for told in group.told)
    assert first < second
