"""What the docker backend promises beyond the contract of all kinds, on a real engine."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient

from tests.docker.stage import SLEEPS, Group, Yard, python
from tests.runner.web import until
from workspace.compute.base import BackendError, ProcessStatusState

pytestmark = pytest.mark.docker
MEBIBYTE = 1024**2


def until_up(group: Group) -> None:
    until(lambda: all(b"up" in told.log for told in group.told), "the programs to print")


def inspect(yard: Yard, group: Group, name: str = "worker-0") -> dict[str, Any]:
    with yard.engine.client() as client:
        found: dict[str, Any] = client.api.inspect_container(yard.container(group, name))
        return found


def test_groups_cannot_reach_each_other(yard: Yard) -> None:
    answers = f"import socket; s = socket.create_server(('', 2222))\n{SLEEPS}"
    first = yard.group(python(answers)).start()
    until_up(first)
    network = inspect(yard, first)["NetworkSettings"]["Networks"].popitem()[1]
    asks = """
import socket
for host in ({address!r}, 'worker-0.{network}'):
    try:
        socket.create_connection((host, 2222), timeout=2)
        print('reached', host)
    except OSError:
        print('closed')
"""
    script = asks.format(address=network["IPAddress"], network=f"ty-{first.label}")
    second, told = yard.one(script)
    second.until_collected()
    assert told.log == b"closed\nclosed\n"


def test_a_program_has_no_privileges(yard: Yard) -> None:
    script = """
import os
print(os.getuid(), os.getgid())
for line in open('/proc/self/status'):
    if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs')):
        print(*line.split())
print('socket', os.path.exists('/var/run/docker.sock'))
"""
    group, told = yard.one(script)
    group.until_collected()
    told_of = dict(line.split(maxsplit=1) for line in told.log.decode().splitlines())
    assert told_of == {
        "10001": "10001",
        "CapBnd:": "0" * 16,
        "CapEff:": "0" * 16,
        "NoNewPrivs:": "1",
        "socket": "False",
    }


def test_limits_hold_inside(yard: Yard) -> None:
    script = """
import os
def first(*paths):
    for path in paths:
        if os.path.exists(path):
            return open(path).read().split()[0]
print(first('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'))
print(first('/sys/fs/cgroup/cpu.max', '/sys/fs/cgroup/cpu/cpu.cfs_quota_us'))
print(first('/sys/fs/cgroup/pids.max', '/sys/fs/cgroup/pids/pids.max'))
shared = os.statvfs('/dev/shm')
print(shared.f_blocks * shared.f_frsize)
"""
    group, told = yard.one(script, cpus=0.5, memory_bytes=256 * MEBIBYTE, shm_bytes=96 * MEBIBYTE)
    group.until_collected()
    memory, quota, pids, shared = told.log.split()
    assert 256 * MEBIBYTE <= int(memory) <= 384 * MEBIBYTE
    assert int(quota) == 50_000
    assert int(pids) < 10_000
    assert int(shared) == 96 * MEBIBYTE


def test_a_program_that_takes_too_much_memory_is_told_so(yard: Yard) -> None:
    takes = "print('up', flush=True)\nheld = bytearray(400 * 1024**2)\nimport time; time.sleep(600)"
    limit = 128 * MEBIBYTE
    group = yard.group(python(takes, memory_bytes=limit), memory_bytes=limit).start()
    group.until_collected()
    ending = group.told[0].ending
    assert ending is not None
    assert ending["out_of_memory"]
    assert ending["exit_code"] == 137


def test_a_program_that_the_kernel_kills_for_memory_is_told_so(yard: Yard) -> None:
    """The runner is not told of the limit here, so that the container's own one has to hold."""
    group, told = yard.one("held = bytearray(400 * 1024**2)", memory_bytes=64 * MEBIBYTE)
    group.until_collected()
    assert told.ending is not None
    assert told.ending["reason"] == "was killed by the kernel: out of memory (OOM)"
    assert told.ending["out_of_memory"]


def test_what_an_interrupted_start_left_is_completed(yard: Yard) -> None:
    group = yard.group(python(SLEEPS), python(SLEEPS))
    group.backend.start(replace(group.plan, processes=group.plan.processes[:1]))
    with yard.engine.client() as client:
        client.containers.create(
            group.plan.environment_reference,
            ["sleep", "1"],
            name=f"{yard.container(group)}-of-somebody-else",
            labels={"trainyard.installation": "another", "trainyard.group": group.label},
        )
    try:
        group.start()
        until_up(group)
        assert group.states() == [ProcessStatusState.ALIVE, ProcessStatusState.ALIVE]
    finally:
        with yard.engine.client() as client:
            client.api.remove_container(f"{yard.container(group)}-of-somebody-else")


def test_what_is_left_of_a_group_is_listed_until_it_is_removed(yard: Yard) -> None:
    group = yard.group(python(SLEEPS)).start()
    until_up(group)
    assert group.label in yard.backend.group_ids()
    with yard.engine.client() as client:
        client.api.remove_container(yard.container(group), force=True)
    assert group.label in yard.backend.group_ids(), "its network is there"
    yard.backend.remove(group.label)
    assert group.label not in yard.backend.group_ids()


def test_an_image_that_is_not_there_is_named(yard: Yard) -> None:
    group = yard.group(python(SLEEPS))
    with pytest.raises(BackendError, match="no-such-image") as raised:
        group.backend.start(replace(group.plan, environment_reference="no-such-image:1"))
    assert not raised.value.retryable


def test_an_image_without_an_environment_is_refused_in_words(yard: Yard) -> None:
    group = yard.group(python(SLEEPS))
    with pytest.raises(BackendError, match=r"has no Python at /opt/environment/bin/python"):
        group.backend.start(replace(group.plan, environment_reference="python:3.11-slim"))


def test_a_program_that_ignores_a_stop_is_killed_after_the_grace(yard: Yard) -> None:
    script = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEPS}"
    group, told = yard.one(script)
    until_up(group)
    group.backend.stop(group.label, timedelta(seconds=0.5))
    group.until_collected()
    assert told.ending is not None
    assert told.ending["reason"].endswith("it had not ended 0.5 s after SIGTERM")


def test_what_a_killed_container_left_is_recovered(yard: Yard) -> None:
    kept = "open('outputs/kept', 'w').write('k'); open('fetched', 'w').write('from the server')"
    group, told = yard.one(f"{kept}; print('last words')\n{SLEEPS}")
    until_up(group)
    yard.web.trouble = lambda token, path: 503 if path.startswith(("log", "output")) else None
    group.backend.kill(group.label)
    assert group.states() == [ProcessStatusState.EXITED]
    yard.web.trouble = lambda token, path: None
    assert group.backend.recover_outputs(group.label, group.names) == ["worker-0"]
    until(
        lambda: not group.backend.recover_outputs(group.label, group.names),
        "the end of the recovery",
    )
    assert told.collected
    assert told.log == b"last words\nup\n"
    assert list(told.outputs.values()) == [b"k"]
    recovered = Path(yard.access.home) / "recovery" / group.label / "worker-0" / "work"
    assert [path.name for path in recovered.iterdir()] == ["outputs"]
    assert told.ending is not None
    assert told.ending["exit_code"] == 137
    assert "container was killed" in told.ending["reason"]


def test_the_token_is_seen_neither_in_the_container_s_settings_nor_by_its_name(yard: Yard) -> None:
    group, _ = yard.one(SLEEPS)
    until_up(group)
    token = group.plan.processes[0].environment["TRAINYARD_PROCESS_TOKEN"]
    shown = json.dumps(inspect(yard, group)).replace(yard.container(group), "")
    assert token not in shown


def test_gpus_are_asked_for_by_their_ids(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is here: the engine takes the request, and refuses the start for want of a driver."""
    group = yard.group(python(SLEEPS), gpus=("GPU-a", "GPU-b"))
    requests: list[Any] = []
    start = APIClient.start

    def seen(client: APIClient, container: str) -> None:
        requests.extend(inspect(yard, group)["HostConfig"]["DeviceRequests"])
        start(client, container)

    monkeypatch.setattr(APIClient, "start", seen)
    with pytest.raises(BackendError, match="NVIDIA container toolkit"):
        group.start()
    assert requests == [
        {
            "Driver": "",
            "Count": 0,
            "DeviceIDs": ["GPU-a", "GPU-b"],
            "Capabilities": [["gpu"]],
            "Options": {},
        }
    ]
    assert [name for name in yard.left() if not name.endswith(group.plan.checkpoints)] == []


def test_the_machine_of_the_engine_is_one_node_with_all_that_it_has(yard: Yard) -> None:
    (node,) = yard.backend.check()
    with yard.engine.client() as client:
        info = client.info()
    assert (node.name, node.cpus) == (info["Name"], info["NCPU"])
    assert node.memory_bytes == info["MemTotal"]
    assert node.engine_version == info["ServerVersion"]
    assert node.healthy
