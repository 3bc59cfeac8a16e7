"""What the local backend promises beyond the contract of all kinds, with real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runner import procfs
from runner.process_directory import ProcessDirectory, write_json
from tests.runner.stage import Group, one, python
from tests.runner.test_program import (
    DAEMON,
    IGNORES_SIGTERM,
    WITHOUT_MAIN_THREAD,
    daemon_of,
    is_alive,
)
from tests.runner.web import FakeServer, spec, until
from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError, GroupPlan, ProcessStatusState
from workspace.compute.local import machine
from workspace.compute.local.backend import LocalBackend

pytestmark = pytest.mark.processes
SLEEPS = "import time; print('up', flush=True); time.sleep(60)"


def runner_of(group: Group, index: int = 0) -> int:
    recorded = json.loads((group.folder(index) / "pid").read_text())
    return int(recorded["pid"])


def kill_runner(group: Group, index: int = 0) -> None:
    os.kill(runner_of(group, index), signal.SIGKILL)
    folder = ProcessDirectory(str(group.folder(index)))
    until(lambda: not folder.is_locked(), "the runner is gone")


def states(group: Group) -> list[ProcessStatusState]:
    return [process_status.state for process_status in group.backend.observe(group.label)]


def two_sleepers(yard: Path, web: FakeServer, label: str = "run-1-1") -> Group:
    group = Group(yard, web, [spec(python(SLEEPS)), spec(python(SLEEPS))], label).start()
    until(lambda: all(told.log for told in group.told))
    return group


def test_the_exit_code_and_reason_are_seen(yard: Path, web: FakeServer) -> None:
    group, _ = one(yard, web, "import os; os.kill(os.getpid(), 9)")
    group.until_collected()
    until(lambda: states(group) == [ProcessStatusState.EXITED])
    (process_status,) = group.backend.observe(group.label)
    assert process_status.exit_code == 137
    assert "SIGKILL" in process_status.reason


@pytest.mark.parametrize("label", ["", "../x", "a/b", "/etc", "x" * 65])
def test_a_label_that_is_no_name_is_refused(yard: Path, label: str) -> None:
    with pytest.raises(BackendError):
        LocalBackend(TargetAccess(home=str(yard))).remove(label)


def test_an_environment_that_is_gone_is_named(yard: Path, web: FakeServer) -> None:
    group = Group(yard, web, [spec(python("pass"))])
    plan = GroupPlan(group.label, "environments/none", group.plan.processes)
    with pytest.raises(BackendError, match="environments/none"):
        group.backend.start(plan)


def test_stop_kills_after_the_grace_it_was_given(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, IGNORES_SIGTERM, grace_seconds=3600)
    until(lambda: told.log)
    group.backend.stop(group.label, timedelta(seconds=0.4))
    group.until_collected()
    assert told.ending is not None
    assert told.ending["exit_code"] == 137
    assert "0.4 s after SIGTERM" in told.ending["reason"]


def test_stop_reaches_a_process_that_waits_at_the_barrier(yard: Path, web: FakeServer) -> None:
    web.go = False
    group, told = one(yard, web, SLEEPS)
    until(lambda: "beat" in told.calls)
    group.backend.stop(group.label, timedelta(seconds=1))
    group.until_collected()
    assert told.ending is not None
    assert told.ending["exit_code"] == 143


@pytest.mark.parametrize("more", ["", "os.execvpe('sleep', ['sleep', '60'], {})"])
def test_kill_ends_daemons_also_those_that_dropped_their_environment(
    yard: Path, web: FakeServer, more: str
) -> None:
    more = f"print('daemon', os.getpid(), flush=True); {more}" if more else more
    group, told = one(yard, web, DAEMON.format(more=more, then="time.sleep(60)"))
    daemon = until(lambda: daemon_of(bytes(told.log)))
    group.backend.kill(group.label)
    assert not is_alive(daemon)
    assert not is_alive(told.started or 0)
    assert states(group) == [ProcessStatusState.GONE]


def test_kill_finds_a_daemon_that_dropped_its_environment_and_outlived_its_runner(
    yard: Path, web: FakeServer
) -> None:
    sleeps = "print('daemon', os.getpid(), flush=True); os.execvpe('sleep', ['sleep', '60'], {})"
    group, told = one(yard, web, DAEMON.format(more=sleeps, then="time.sleep(60)"))
    daemon = until(lambda: daemon_of(bytes(told.log)))
    until(lambda: b"sleep" in Path(f"/proc/{daemon}/cmdline").read_bytes())
    other = two_sleepers(yard, web, "run-1-11")
    kill_runner(group)
    group.backend.kill(group.label)
    until(lambda: not is_alive(daemon), "the daemon is gone")
    assert states(other) == [ProcessStatusState.ALIVE, ProcessStatusState.ALIVE]
    other.backend.kill(other.label)


def test_kill_is_over_when_the_last_thread_of_a_runner_is(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, SLEEPS)
    until(lambda: told.log)
    kill_runner(group)
    folder = ProcessDirectory(str(group.folder()))
    lock = folder.try_lock()
    assert lock is not None
    more = "print('alone', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", WITHOUT_MAIN_THREAD.format(more=more)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(lock,)) as stand_in:
        os.close(lock)
        assert stand_in.stdout
        assert stand_in.stdout.readline()
        status = procfs.status_of(stand_in.pid)
        assert status
        write_json(folder.pid, {"pid": stand_in.pid, "started": status.started})
        group.backend.kill(group.label)
        assert states(group) == [ProcessStatusState.GONE]


def test_kill_finds_a_daemon_whose_main_thread_has_ended(
    yard: Path, web: FakeServer, tmp_path: Path
) -> None:
    more = "os.write(1, b'daemon %d\\n' % os.getpid()); time.sleep(60)"
    (tmp_path / "daemon.py").write_text(WITHOUT_MAIN_THREAD.format(more=more))
    start = f"os.execv({sys.executable!r}, ['python', {str(tmp_path / 'daemon.py')!r}])"
    group, told = one(yard, web, DAEMON.format(more=start, then="time.sleep(60)"))
    daemon = until(lambda: daemon_of(bytes(told.log)))
    kill_runner(group)
    group.backend.kill(group.label)
    until(lambda: not is_alive(daemon), "the daemon is gone")


def test_kill_spares_a_group_of_the_same_name_in_another_home(
    yard: Path, web: FakeServer, tmp_path: Path
) -> None:
    group = two_sleepers(yard, web)
    LocalBackend(TargetAccess(home=str(tmp_path / "other"))).kill(group.label)
    other = two_sleepers(yard, web, "run-1-11")
    group.backend.kill(group.label)
    assert states(other) == [ProcessStatusState.ALIVE, ProcessStatusState.ALIVE]


def _waits_for(path: Path) -> str:
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.01)"


def test_runners_outlive_the_one_that_started_them(
    yard: Path, web: FakeServer, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    group = Group(yard, web, [spec(python(f"{_waits_for(go)}\nprint('done')"))])
    starter = f"""
import sys
from tests.runner import stage
from workspace.compute.access import TargetAccess
from workspace.compute.base import GroupPlan, ProcessPlan
from workspace.compute.local.backend import LocalBackend
LocalBackend(TargetAccess(home={str(yard)!r})).start({group.plan!r})
"""
    subprocess.run([sys.executable, "-c", starter], check=True, timeout=30)
    until(lambda: states(group) == [ProcessStatusState.ALIVE])
    go.touch()
    group.until_collected()
    assert group.told[0].log == b"done\n"


def test_a_dead_runner_is_seen_and_what_it_left_is_recovered(yard: Path, web: FakeServer) -> None:
    script = f"open('outputs/kept', 'w').write('k'); print('last words')\n{SLEEPS}"
    group, told = one(yard, web, script)
    until(lambda: b"up" in told.log)
    kill_runner(group)
    assert states(group) == [ProcessStatusState.GONE]
    assert group.backend.recover_outputs(group.label, group.names) == ["worker-0"]
    group.until_collected()
    until(lambda: not group.backend.recover_outputs(group.label, group.names))
    assert told.ending is not None
    assert told.ending["exit_code"] == 137
    assert told.ending["reason"] == "was killed with its runner"
    assert told.log == b"last words\nup\n"
    assert told.outputs == {"outputs/kept": b"k"}


def test_what_a_dead_runner_could_not_send_any_more_is_recovered_once(
    yard: Path, web: FakeServer, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    script = f"print('first', flush=True)\n{_waits_for(go)}\nprint('second'); raise SystemExit(4)"
    group, told = one(yard, web, script)
    until(lambda: told.log)
    web.trouble = lambda process, path: 503
    go.touch()
    until(lambda: (group.folder() / "exit.json").exists())
    kill_runner(group)
    web.trouble = lambda process, path: None
    group.backend.recover_outputs(group.label, group.names)
    group.until_collected()
    assert told.log == b"first\nsecond\n"
    assert told.ending is not None
    assert told.ending["exit_code"] == 4


def test_recovery_ends_what_a_dead_runner_left_alive(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, DAEMON.format(more="", then="time.sleep(60)"))
    daemon = until(lambda: daemon_of(bytes(told.log)))
    kill_runner(group)
    until(lambda: not group.backend.recover_outputs(group.label, group.names))
    assert told.collected
    assert not is_alive(daemon)


def test_nothing_is_recovered_from_living_or_finished_processes(
    yard: Path, web: FakeServer
) -> None:
    group, told = one(yard, web, "print('x')")
    group.until_collected()
    until(lambda: states(group) == [ProcessStatusState.EXITED])
    calls = len(told.calls)
    assert group.backend.recover_outputs(group.label, group.names) == []
    assert len(told.calls) == calls


def test_addresses_are_free_stable_and_nobody_else_gets_them(yard: Path, web: FakeServer) -> None:
    first = Group(yard, web, [spec(python("pass"))] * 3, "run-1-1")
    second = Group(yard, web, [spec(python("pass"))] * 3, "run-2-1")
    given = first.backend.addresses(first.plan)
    others = second.backend.addresses(second.plan)
    assert LocalBackend(TargetAccess(home=str(yard))).addresses(first.plan) == given
    assert list(given) == first.names
    all_given = [
        address for each in (given, others) for ports in each.values() for address in ports
    ]
    assert len(set(all_given)) == 6
    assert all(address.startswith("127.0.0.1:") for address in all_given)


def test_the_next_attempt_has_the_addresses_of_the_last_but_for_those_in_use(
    yard: Path, web: FakeServer
) -> None:
    first = Group(yard, web, [spec(python("pass"))] * 2, "run-1-1")
    given = first.backend.addresses(first.plan)
    wished = replace(first.plan, id="run-1-2", addresses=given)
    assert first.backend.addresses(wished) != given, "the last attempt is still there"
    first.backend.remove("run-1-2")
    first.backend.remove("run-1-1")
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(given["worker-1"][0].rpartition(":")[2])))
        other.listen()
        again = first.backend.addresses(replace(wished, id="run-1-3"))
    assert again["worker-0"] == given["worker-0"]
    assert again["worker-1"] != given["worker-1"]


def test_a_foreign_process_with_a_recorded_number_is_never_signalled(
    yard: Path, web: FakeServer, sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    group, _ = one(yard, web, "pass")
    group.until_collected()
    until(lambda: states(group) == [ProcessStatusState.EXITED])
    stranger = sleeper()
    started = procfs.status_of(stranger.pid)
    assert started is not None
    for recorded in (
        {"pid": stranger.pid, "started": 1},
        {"pid": stranger.pid, "started": started.started},
    ):
        (group.folder() / "pid").write_text(json.dumps(recorded))
        group.backend.stop(group.label, timedelta(seconds=0))
        group.backend.kill(group.label)
    group.backend.remove(group.label)
    assert stranger.poll() is None


@pytest.fixture
def sleeper() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "60"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_this_machine_is_one_node(yard: Path) -> None:
    (node,) = LocalBackend(TargetAccess(home=str(yard))).check()
    assert node.cpus == len(os.sched_getaffinity(0))
    assert node.memory_bytes > 100 * 1024 * 1024
    assert node.healthy


def test_gpus_are_those_that_the_driver_names(
    yard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-1234, NVIDIA H200, 143771, 570.86.15'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    machine._gpus.cache_clear()
    (gpu,) = machine.this_node().gpus
    machine._gpus.cache_clear()
    assert (gpu.index, gpu.uuid, gpu.model) == (0, "GPU-1234", "NVIDIA H200")
    assert gpu.driver == "570.86.15"
    assert gpu.memory_bytes == 143771 * 1024 * 1024
