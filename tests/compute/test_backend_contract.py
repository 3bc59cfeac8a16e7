"""What every kind of target promises in workspace/compute/base.py, sentence by sentence.

Local and bare targets run real processes of this machine; docker and swarm run on the engines that
tests/docker makes. `runner_place` leaves out the fake, which runs no programs.
"""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.compute.bare_backend import BARE
from tests.compute.places import (
    IGNORES_STOP,
    SAVES_ON_STOP,
    SLEEPS,
    BarePlace,
    DockerPlace,
    FakePlace,
    LocalPlace,
    Place,
    Program,
    RunnerPlace,
    SwarmPlace,
    exits,
)
from tests.fakes import FakeBackend, HalfStartingBackend, LyingBackend, SilentBackend
from tests.waiting import wait_for
from workspace.compute.access import TargetAccess
from workspace.compute.base import (
    Backend,
    BackendError,
    GroupPlan,
    ProcessStatusState,
    TargetUnreachable,
)
from workspace.compute.environment_spec import CuratedFramework, EnvironmentSpec
from workspace.compute.registry import KINDS, make_backend

pytestmark = pytest.mark.slow

ALIVE, EXITED = ProcessStatusState.ALIVE, ProcessStatusState.EXITED
NOW = timedelta(0)
ON_ENGINES = [
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("swarm", marks=pytest.mark.docker),
]


def make_place(kind: str, request: pytest.FixtureRequest, home: Path) -> Place:
    if kind == "docker":
        from tests.docker.stage import PLAIN_IMAGE, ensure_plain_image

        engine = request.getfixturevalue("engine")
        with engine.client() as client:
            ensure_plain_image(client)
        return DockerPlace(engine, PLAIN_IMAGE, home)
    if kind == "swarm":
        from tests.docker.plain_image import plain_image

        swarm = request.getfixturevalue("swarm")
        return SwarmPlace(swarm, plain_image(swarm), home)
    if kind == "local":
        return LocalPlace(home)
    return BarePlace(home) if kind == "bare" else FakePlace()


@pytest.fixture(params=["fake", "bare", "local", *ON_ENGINES])
def place(
    request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    monkeypatch.setitem(KINDS, "bare", BARE)
    made = make_place(request.param, request, home)
    yield made
    made.end()


@pytest.fixture(params=["bare", "local", *ON_ENGINES])
def runner_place(
    request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunnerPlace]:
    monkeypatch.setitem(KINDS, "bare", BARE)
    made = make_place(request.param, request, home)
    assert isinstance(made, RunnerPlace)
    yield made
    made.end()


def none_alive(place: Place, plan: GroupPlan) -> bool:
    return ALIVE not in place.states(plan)


def test_check_tells_what_each_node_has(place: Place) -> None:
    nodes = place.backend.check()
    assert nodes
    assert len({node.name for node in nodes}) == len(nodes)
    for node in nodes:
        assert node.healthy
        assert node.cpus > 0
        assert node.memory_bytes > 100 * 1024**2
    assert [(node.name, node.cpus) for node in place.again().check()] == [
        (node.name, node.cpus) for node in nodes
    ]


def test_addresses_are_known_before_the_start_and_stay(place: Place) -> None:
    plan = place.plan(SLEEPS, SLEEPS, ports=2)
    given = place.backend.addresses(plan)
    assert list(given) == ["worker-0", "worker-1"]
    assert [len(ports) for ports in given.values()] == [2, 2]
    assert len({*given["worker-0"], *given["worker-1"]}) == 4
    assert place.again().addresses(plan) == given


def test_a_started_group_is_observed_by_name(place: Place) -> None:
    plan = place.start(SLEEPS, SLEEPS)
    assert list(place.statuses(plan)) == ["worker-0", "worker-1"]
    assert place.states(plan) == [ALIVE, ALIVE]
    assert place.starts(plan) == [1, 1]


def test_a_second_start_changes_nothing(place: Place) -> None:
    plan = place.start(SLEEPS, SLEEPS)
    place.backend.start(plan)
    place.again().start(plan)
    assert place.states(plan) == [ALIVE, ALIVE]
    assert place.starts(plan) == [1, 1]


def test_a_start_that_was_cut_short_is_completed(place: Place) -> None:
    plan = place.plan(SLEEPS, SLEEPS)
    place.backend.start(replace(plan, processes=plan.processes[:1]))
    place.again().start(plan)
    place.wait_until_up(plan, SLEEPS, SLEEPS)
    assert place.states(plan) == [ALIVE, ALIVE]
    assert place.starts(plan) == [1, 1]


def test_when_one_process_cannot_start_none_runs(place: Place) -> None:
    plan = place.impossible(place.plan(SLEEPS, SLEEPS))
    with pytest.raises(BackendError) as raised:
        place.backend.start(plan)
    assert str(raised.value)
    wait_for(lambda: none_alive(place, plan), "no process to be alive")


def test_exit_codes_arrive_and_what_has_ended_is_not_started_again(place: Place) -> None:
    programs = (exits(0), exits(3))
    plan = place.start(*programs)
    assert place.wait_for_end(plan) == [0, 3]
    wait_for(lambda: place.states(plan) == [EXITED, EXITED], "the ends to be seen")
    assert all(status.exit_code is not None for status in place.backend.observe(plan.id))
    place.again().start(plan)
    place.wait_until_up(plan, *programs)
    assert place.states(plan) == [EXITED, EXITED]
    assert place.starts(plan) == [1, 1]


def test_stop_lets_a_program_end_in_its_own_way(place: Place) -> None:
    plan = place.start(SAVES_ON_STOP)
    place.stop(plan, timedelta(seconds=60))
    place.stop(plan, timedelta(seconds=60))
    assert place.wait_for_end(plan) == [7]
    wait_for(lambda: none_alive(place, plan), "the end to be seen")


def test_a_program_that_ignores_a_stop_is_killed_after_the_grace(place: Place) -> None:
    plan = place.start(IGNORES_STOP)
    place.stop(plan, timedelta(seconds=0.5))
    assert place.wait_for_end(plan) == [137]


def test_after_kill_no_process_is_alive(place: Place) -> None:
    plan, other = place.start(SLEEPS, IGNORES_STOP), place.start(SLEEPS)
    place.again().kill(plan.id)
    assert none_alive(place, plan)
    place.backend.kill(plan.id)
    assert place.states(other) == [ALIVE]


def test_a_new_backend_adopts_what_runs(place: Place) -> None:
    plan = place.start(SLEEPS, SLEEPS)
    place.backend = place.again()
    assert place.states(plan) == [ALIVE, ALIVE]
    place.stop(plan, timedelta(seconds=60))
    assert place.wait_for_end(plan) == [143, 143]


def test_remove_leaves_nothing(place: Place) -> None:
    plan = place.start(SLEEPS, exits(0))
    place.backend.remove(plan.id)
    place.again().remove(plan.id)
    assert place.backend.observe(plan.id) == []
    wait_for(lambda: not place.left(), f"nothing to be left: {place.left()}", 90)


def test_a_group_that_never_was_is_empty_and_may_be_removed(place: Place) -> None:
    never = "run-9-9"
    assert place.backend.observe(never) == []
    place.backend.stop(never, NOW)
    place.backend.kill(never)
    assert list(place.backend.recover_outputs(never, ["worker-0"])) == []
    place.backend.remove(never)
    place.backend.remove_checkpoints("run-9")


def test_an_environment_is_built_once_and_may_be_discarded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CuratedFramework, "requirements", lambda self, *, gpu: ["six==1.17.0"])
    spec = EnvironmentSpec.of("2.21").to_json()
    if isinstance(place, (DockerPlace, SwarmPlace)):
        from tests.docker.engine import BASE_IMAGE

        place.backend.close()  # type: ignore[attr-defined]
        base = getattr(place, "base", BASE_IMAGE)
        place.backend = make_backend(place.kind, replace(place.access, base_image=base))
    first: list[bytes] = []
    second: list[bytes] = []
    built = place.backend.prepare("d" * 64, spec, first.append)
    assert place.backend.has_environment(built.reference)
    again = place.backend.prepare("d" * 64, spec, second.append)
    assert place.backend.has_environment(again.reference)
    assert b"Installing six==1.17.0.\n" not in b"".join(second)
    for reference in (again.reference, built.reference, again.reference):
        place.backend.discard(reference)
        assert not place.backend.has_environment(reference)


def test_the_log_and_the_outputs_of_a_program_arrive(runner_place: RunnerPlace) -> None:
    script = "open('outputs/kept', 'w').write('k'); print('hello')"
    plan = runner_place.start(Program(script, exit_code=0))
    assert runner_place.wait_for_end(plan) == [0]
    (told,) = runner_place.told(plan)
    assert told.log == b"hello\n"
    assert list(told.outputs.values()) == [b"k"]


def test_what_is_unsent_after_a_crash_is_recovered_where_it_can_be(
    runner_place: RunnerPlace,
) -> None:
    script = f"open('outputs/kept', 'w').write('k'); print('last words')\n{SLEEPS.script}"
    plan = runner_place.start(Program(script))
    (told,) = runner_place.told(plan)
    wait_for(lambda: b"up" in told.log, "the program to run")
    runner_place.web.trouble = lambda token, path: 503 if path.startswith("output") else None
    runner_place.crash(plan)
    wait_for(lambda: none_alive(runner_place, plan), "the crash to be seen")
    runner_place.web.trouble = lambda token, path: None

    def is_done() -> bool:
        return not runner_place.again().recover_outputs(plan.id, ["worker-0"])

    if not runner_place.recovers:
        assert is_done()
        return
    assert not is_done()
    wait_for(is_done, "the end of the recovery")
    assert told.log == b"last words\nup\n"
    assert list(told.outputs.values()) == [b"k"]
    assert told.ending is not None
    assert told.ending["exit_code"] == 137


def test_processes_of_a_group_reach_each_other_at_their_addresses(
    runner_place: RunnerPlace,
) -> None:
    plan = runner_place.plan(SLEEPS, SLEEPS)
    host, _, port = runner_place.backend.addresses(plan)["worker-0"][0].rpartition(":")
    runner_place.use(plan, 0, ANSWERS.format(port=port))
    runner_place.use(plan, 1, ASKS.format(host=host, port=port))
    runner_place.backend.start(plan)
    told = runner_place.told(plan)[1]
    wait_for(lambda: told.log, "an answer", 120)
    assert told.log == b"hello\n"


ANSWERS = """
import socket
server = socket.create_server(("", {port}))
print("up", flush=True)
while True:
    caller, _ = server.accept()
    caller.sendall(b"hello")
    caller.close()
"""
ASKS = """
import socket, time
while True:
    try:
        with socket.create_connection(({host!r}, {port}), timeout=5) as peer:
            print(peer.recv(5).decode(), flush=True)
            break
    except OSError:  # it may not listen yet
        time.sleep(0.05)
"""


def test_this_server_reaches_the_ports_of_a_process(runner_place: RunnerPlace) -> None:
    plan = runner_place.plan(SLEEPS, publish_ports=True)
    (address,) = runner_place.backend.addresses(plan)["worker-0"]
    runner_place.use(plan, 0, ANSWERS.format(port=address.rpartition(":")[2]))
    runner_place.backend.start(plan)
    runner_place.wait_until_up(plan, SLEEPS)
    if runner_place.info.publishes_ports:
        (address,) = wait_for(
            lambda: runner_place.statuses(plan)["worker-0"].published_ports, "a published port"
        )
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as peer:
        assert peer.recv(5) == b"hello"


def test_checkpoints_outlive_an_attempt_where_the_target_keeps_them(
    runner_place: RunnerPlace,
) -> None:
    backend = runner_place.backend
    name = runner_place.plan().id.removesuffix("-1")
    folder = backend.checkpoint_folder(name)
    assert runner_place.again().checkpoint_folder(name) == folder
    if not backend.keeps_checkpoints():
        return
    writes = Program(f"open({folder + '/step'!r}, 'w').write('7')", exit_code=0)
    reads = Program(f"print(open({folder + '/step'!r}).read())", exit_code=0)
    for program in (writes, reads):
        plan = replace(runner_place.plan(program), checkpoints=name)
        backend.start(plan)
        assert runner_place.wait_for_end(plan) == [0]
        backend.remove(plan.id)
    assert runner_place.told(plan)[0].log == b"7\n"
    backend.remove_checkpoints(name)
    backend.remove_checkpoints(name)


CALLS: list[Callable[[Backend], object]] = [
    lambda backend: backend.check(),
    lambda backend: backend.start(GroupPlan("run-1-1", "none", FakePlace().plan(SLEEPS).processes)),
    lambda backend: backend.observe("run-1-1"),
    lambda backend: backend.kill("run-1-1"),
    lambda backend: backend.remove("run-1-1"),
]


def unreachable(kind: str) -> Backend:
    if kind == "fake":
        fake = FakeBackend()
        fake.silence = TargetUnreachable("No route to host.")
        return fake
    address = "unix:///nowhere.sock" if kind == "docker" else "tcp://127.0.0.1:1"
    return make_backend(kind, TargetAccess(home="", installation="test", address=address))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["fake", "docker", "swarm"])
def test_a_target_that_does_not_answer_is_unreachable(
    kind: str, call: Callable[[Backend], object]
) -> None:
    with pytest.raises(TargetUnreachable) as raised:
        call(unreachable(kind))
    assert raised.value.retryable


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        (LyingBackend, test_after_kill_no_process_is_alive),
        (LyingBackend, test_remove_leaves_nothing),
        (LyingBackend, test_a_group_that_never_was_is_empty_and_may_be_removed),
    ],
)
def test_a_backend_that_lies_is_noticed(
    backend: Callable[[], FakeBackend], sentence: Callable[[Place], None]
) -> None:
    with pytest.raises(AssertionError):
        sentence(FakePlace(backend()))


def test_a_backend_that_half_starts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.compute.test_backend_contract.wait_for", once)
    with pytest.raises(AssertionError):
        test_when_one_process_cannot_start_none_runs(FakePlace(HalfStartingBackend()))


def once(condition: Callable[[], object], what: str, seconds: float = 0.0) -> object:
    assert condition(), what
    return None


def test_a_backend_that_breaks_with_an_error_of_its_library_is_noticed() -> None:
    with pytest.raises(ConnectionResetError):
        test_check_tells_what_each_node_has(FakePlace(SilentBackend()))
