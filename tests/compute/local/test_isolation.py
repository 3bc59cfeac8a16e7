"""What a program on this machine reaches of the installation and of others: each tries it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from uv import find_uv_bin

from tests.runner.stage import ENVIRONMENT, Group, python
from tests.runner.web import FakeServer, spec, until
from workspace.compute import confinement
from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError, ProcessStatusState
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.local import virtualenvs
from workspace.compute.local.backend import LocalBackend
from workspace.compute.local.virtualenvs import packages_in
from workspace.compute.sandbox import UNCONFINED
from workspace.compute.sandboxed_job import SandboxedJob
from workspace.one_look import one_look

pytestmark = pytest.mark.processes

# Each line of what it is asked to try is an action and a path; it reports what came of each.
TRIES = """
import json, os, sys
def attempt(action, path):
    try:
        if action == "read":
            return open(path).read()
        if action == "list":
            return sorted(os.listdir(path))
        with open(path, "w") as file:
            file.write("pwned")
        return "written"
    except OSError as error:
        return "refused"
print(json.dumps([attempt(*each) for each in json.loads(sys.argv[1])]), flush=True)
"""


def start(group: Group, **changes: Any) -> Any:
    """Start a group's only process, wait for its end, and return the JSON that it logged."""
    group.plan = replace(
        group.plan, processes=tuple(replace(each, **changes) for each in group.plan.processes)
    )
    group.start()
    group.until_collected()
    return json.loads(group.told[0].log.decode().splitlines()[-1])


def trying(yard: Path, web: FakeServer, *tries: tuple[str, Path | str], label: str) -> Group:
    command = [*python(TRIES), json.dumps([[action, str(path)] for action, path in tries])]
    return Group(yard, web, [spec(command)], label)


@pytest.fixture
def secrets(yard: Path) -> list[Path]:
    """Make what an installation has in its home, and another team's run."""
    found = [yard / "secret_key", yard / "db.sqlite3", yard / "local" / "run-9-1" / "runner.json"]
    for path in found:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
    return found


@pytest.mark.parametrize("loads_model", [False, True], ids=["run", "model server"])
def test_nothing_of_the_installation_is_read_or_written(
    yard: Path, web: FakeServer, secrets: list[Path], loads_model: bool
) -> None:
    tries = [(action, path) for path in secrets for action in ("read", "write")]
    own = yard / "local" / "run-1-1" / "worker-0" / "work" / "own"
    through = Path("/proc") / str(os.getpid()) / "root" / str(secrets[0])[1:]
    group = trying(yard, web, *tries, ("read", through), ("write", own), label="run-1-1")
    found = start(group, loads_model=loads_model)
    assert found == ["refused"] * (len(tries) + 1) + ["written"]
    assert {path.read_text() for path in secrets} == {"secret"}


def test_a_model_server_reads_no_file_that_is_not_its_own(
    yard: Path, web: FakeServer, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("private")
    tries: list[tuple[str, Path | str]] = [("read", outside), ("write", outside)]
    tries += [("list", Path.home()), ("read", "/etc/shadow")]
    group = trying(yard, web, *tries, label="service-1-0")
    assert start(group, loads_model=True) == ["refused"] * 4
    assert start(trying(yard, web, *tries[:2], label="run-1-1")) == ["private", "written"]


def test_a_model_server_has_a_home_and_temporary_files_of_its_own(
    yard: Path, web: FakeServer
) -> None:
    script = (
        "import json, pathlib, tempfile; made = pathlib.Path.home() / '.keras'; made.mkdir();"
        "file = tempfile.NamedTemporaryFile(); print(json.dumps([str(made), file.name]))"
    )
    group = Group(yard, web, [spec(python(script))], "service-1-0")
    assert all(path.startswith(str(group.folder())) for path in start(group, loads_model=True))


def test_a_run_writes_neither_its_environment_nor_what_the_server_is_made_of(
    yard: Path, web: FakeServer
) -> None:
    hook = yard / ENVIRONMENT / "lib" / "hook.pth"
    hook.parent.mkdir()
    places = [hook, confinement.ROOT / "hook.py", Path(sys.prefix) / "hook.pth"]
    base = Path(sys.executable).resolve().parents[1]
    if base != Path("/usr"):  # the system's Python is not the server's alone
        places.append(base / "lib" / "hook.pth")
    group = trying(yard, web, *(("write", place) for place in places), label="run-1-1")
    assert start(group) == ["refused"] * len(places)
    assert not any(place.exists() for place in places)


def test_the_packages_that_all_environments_come_from_are_not_seen_by_a_run(
    yard: Path, web: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "cache" / "archive" / "six.py"
    cached.parent.mkdir(parents=True)
    cached.write_text("cached")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    group = trying(yard, web, ("read", cached), ("write", cached), label="run-1-1")
    assert start(group) == ["refused"] * 2
    assert cached.read_text() == "cached"


@pytest.mark.parametrize("way", ["link", "watch", "work"])
def test_what_a_program_leaves_leads_the_recovery_of_its_outputs_nowhere(
    yard: Path, web: FakeServer, secrets: list[Path], tmp_path: Path, way: str
) -> None:
    """Its runner dies, and the next one reads what the program wrote in place of its files."""
    (yard / "outputs").mkdir()
    (yard / "outputs" / "others").write_text("others")
    lines = {
        "link": f"shutil.rmtree('outputs'); os.symlink({str(yard)!r}, 'outputs')",
        "watch": f"json.dump({{'watch': [{str(yard)!r}, '../..']}}, open('../spec.json', 'w'))",
        "work": f"shutil.rmtree('../work'); os.symlink({str(yard)!r}, '../work')",
    }
    kills = f"import json, os, shutil, signal\n{lines[way]}\nos.kill(os.getppid(), signal.SIGKILL)"
    group = Group(yard, web, [spec(python(kills))], "run-1-1").start()
    until(lambda: group.backend.observe(group.label)[0].state == ProcessStatusState.GONE)
    until(lambda: not group.backend.recover_outputs(group.label, group.names))
    assert (group.folder() / "collected").exists()
    assert {*group.told[0].outputs, *group.told[0].files} == set()
    assert "secret" not in group.told[0].log.decode()


def test_packages_below_the_home_are_covered_with_it(
    yard: Path, web: FakeServer, secrets: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = yard / ".cache" / "uv" / "six.py"
    cached.parent.mkdir(parents=True)
    cached.write_text("cached")
    monkeypatch.setenv("UV_CACHE_DIR", str(cached.parent))
    own = yard / "local" / "run-1-1" / "worker-0" / "work" / "own"
    group = trying(
        yard, web, ("read", cached), ("read", secrets[0]), ("write", own), label="run-1-1"
    )
    assert start(group) == ["refused", "refused", "written"]


def test_a_program_is_not_started_half_covered(tmp_path: Path) -> None:
    command = confinement.Confinement(hidden=("/proc",), kept=(str(tmp_path),)).command(
        [sys.executable, "-c", "print('it runs')"]
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == UNCONFINED
    assert "it runs" not in done.stdout
    assert "cannot be covered" in done.stderr


def test_checkpoints_of_the_run_are_kept_and_those_of_others_are_not_seen(
    yard: Path, web: FakeServer
) -> None:
    backend = LocalBackend(TargetAccess(home=str(yard)))
    own = Path(backend.checkpoint_folder("run-1")) / "step-1"
    other = Path(backend.checkpoint_folder("run-2")) / "step-1"
    other.write_text("other")
    group = trying(yard, web, ("write", own), ("read", other), label="run-1-1")
    group.plan = replace(group.plan, checkpoints="run-1")
    assert start(group) == ["written", "refused"]
    assert own.read_text() == "pwned"


@pytest.fixture
def built(
    yard: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[LocalBackend, str, Path]]:
    """Return what builds an environment without packages: its backend, reference and site."""
    monkeypatch.setattr(EnvironmentSpec, "requirements", property(lambda self: ["six==1.17.0"]))
    backend = LocalBackend(TargetAccess(home=str(yard)))

    def build(digest: str) -> tuple[LocalBackend, str, Path]:
        made = backend.prepare(digest, EnvironmentSpec.of("2.21").to_json(), lambda chunk: None)
        (site,) = (yard / "environments" / digest).glob("lib/python*/site-packages")
        return backend, made.reference, site

    return build


def test_a_hook_in_an_environment_reaches_no_other_run(
    yard: Path, web: FakeServer, built: Callable[[str], tuple[LocalBackend, str, Path]]
) -> None:
    _, reference, site = built("a" * 64)
    ran = yard.parent / "ran"
    writes = f"""
import json, os, pathlib
place = pathlib.Path({str(site)!r})
try:
    os.chmod(place, 0o777)
    (place / "hook.pth").write_text("import os; open({str(ran)!r}, 'w')")
except OSError as error:
    print(json.dumps(str(error.strerror)))
else:
    print(json.dumps("written"))
"""
    hostile = Group(yard, web, [spec(python(writes))], "run-1-1")
    hostile.plan = replace(hostile.plan, environment_reference=reference)
    assert start(hostile) == "Read-only file system"
    following = Group(yard, web, [spec(python("print(1)"))], "run-2-1")
    following.plan = replace(following.plan, environment_reference=reference)
    assert start(following) == 1
    assert not ran.exists()


def test_what_builds_packages_reads_nothing_of_the_installation(
    yard: Path, secrets: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages from source run their code, as the server's user, and so do hooks in them."""
    told, hooked = tmp_path / "told", tmp_path / "hooked"
    tries = [[action, str(path)] for path in secrets for action in ("read", "write")]
    tries.append(["write", str(confinement.ROOT / "hook.py")])
    program = TRIES.replace("sys.argv[1]", repr(json.dumps(tries)))
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "setup.py").write_text(
        f"{program.replace('print(', 'found = (').replace(', flush=True', '')}"
        f"\nopen({str(told)!r}, 'w').write(json.dumps([found, *os.environ]))"
        "\nfrom setuptools import setup\nsetup(name='evil', version='1')"
    )
    monkeypatch.setenv("DATABASE_URL", "postgres://trainyard:secret@db/trainyard")
    monkeypatch.setattr(
        EnvironmentSpec, "requirements", property(lambda self: [f"evil @ file://{tmp_path}/evil"])
    )
    backend = LocalBackend(TargetAccess(home=str(yard)))
    wanted = EnvironmentSpec.of("2.21").to_json()
    made = backend.prepare("c" * 64, wanted, lambda chunk: None)
    assert "evil" in made.packages
    found, *names = json.loads(told.read_text())
    assert json.loads(found) == ["refused"] * len(tries)
    assert "DATABASE_URL" not in names

    folder = yard / "environments" / ("c" * 64)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "hook.pth").write_text(f"import os; open({str(hooked)!r}, 'w')")
    assert virtualenvs.versions_in(folder)["Python"].startswith("3.")
    assert "evil" in virtualenvs.packages_in(folder)
    assert not hooked.exists()


@pytest.mark.parametrize("kind", ["new file", "same size and times", "removed file"])
def test_a_changed_environment_is_not_used_and_is_built_again(
    yard: Path,
    web: FakeServer,
    built: Callable[[str], tuple[LocalBackend, str, Path]],
    kind: str,
) -> None:
    backend, reference, site = built("b" * 64)
    assert backend.has_environment(reference)
    module = site / "six.py"
    if kind == "new file":
        (site / "hook.pth").write_text("import os")
    elif kind == "removed file":
        module.unlink()
    else:
        shutil.copy2(module, site / "copied")  # not linked into the cache of packages any more
        os.replace(site / "copied", module)
        backend, reference = _sealed_again(backend, reference)
        before = module.stat()
        module.write_bytes(module.read_bytes().replace(b"six", b"SIX"))
        os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not backend.has_environment(reference)
    plan = Group(yard, web, [spec(python("print(1)"))]).plan
    with pytest.raises(BackendError, match="removed or changed"):
        backend.start(replace(plan, environment_reference=reference))
    backend, again, _ = built("b" * 64)
    assert backend.has_environment(again)
    assert not (site / "hook.pth").exists()
    assert b"SIX" not in module.read_bytes()


def test_an_environment_is_looked_at_once_in_a_tick_and_anew_in_the_next(
    built: Callable[[str], tuple[LocalBackend, str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, reference, site = built("b" * 64)
    look = Mock(side_effect=virtualenvs.fingerprint_of)
    monkeypatch.setattr(virtualenvs, "fingerprint_of", look)
    with one_look():
        assert all(backend.has_environment(reference) for _ in range(20))
        assert look.call_count == 1
        (site / "hook.pth").write_text("import os")
    with one_look():
        assert not backend.has_environment(reference)


def _sealed_again(backend: LocalBackend, reference: str) -> tuple[LocalBackend, str]:
    folder, _, _ = reference.partition("@")
    return backend, f"{folder}@{virtualenvs.seal(backend.home / folder)}"


def test_a_job_reads_its_input_and_writes_its_output_alone(
    yard: Path, secrets: list[Path], tmp_path: Path
) -> None:
    source, target = yard / "work" / "input", yard / "work" / "output"
    for folder in (source, target):
        folder.mkdir(parents=True)
    (source / "model").write_text("model")
    program = tmp_path / "program.py"
    program.write_text(TRIES.replace("sys.argv[1]", "open(sys.argv[1] + '/tries').read()"))
    outside = tmp_path / "outside"
    outside.write_text("private")
    tries = [
        *((action, str(path)) for path in [*secrets, outside] for action in ("read", "write")),
        ("write", str(source / "model")),
        ("write", str(tmp_path / "new")),
        ("list", str(Path.home())),
        ("read", str(source / "model")),
        ("write", str(target / "made")),
    ]
    (source / "tries").write_text(json.dumps(tries))
    said: list[bytes] = []
    job = SandboxedJob("test-1", program, source, target)
    backend = LocalBackend(TargetAccess(home=str(yard)))
    assert backend.run_job(ENVIRONMENT, job, said.append) == 0
    found = json.loads(b"".join(said).decode().splitlines()[-1])
    assert found == ["refused"] * (len(tries) - 2) + ["model", "written"]
    assert (target / "made").read_text() == "pwned"


SYSTEM_PYTHON = "/usr/bin/python3"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists(SYSTEM_PYTHON) or shutil.which("setpriv") is None,
    reason="needs root, setpriv and the system's Python, to become somebody else",
)
@pytest.mark.parametrize("means", ["covered", "listed"])
def test_it_holds_for_users_who_are_not_root(tmp_path: Path, means: str) -> None:
    at = tmp_path / "at"
    (at / "home" / "own").mkdir(parents=True)
    (at / "home" / "secret_key").write_text("secret")
    shutil.copy(confinement.PROGRAM, at / "sandbox.py")
    for path in [at, *at.rglob("*")]:
        os.chown(path, 65534, 65534)
    for parent in [at, *at.parents]:
        if parent.stat().st_mode & 0o055 != 0o055 and parent.is_relative_to(Path("/tmp")):  # noqa: S108
            parent.chmod(0o755)
    is_covered = means == "covered"
    settings = confinement.Confinement(
        hidden=(str(at / "home"),) if is_covered else (),
        kept=(str(at / "home" / "own"),) if is_covered else (),
        readable=() if is_covered else ("/usr", "/lib", "/lib64", "/etc/ld.so.cache"),
        writable=(str(at / "home" / "own"), "/dev/null"),
        is_required=True,
    )
    tries = [
        ("read", str(at / "home" / "secret_key")),
        ("write", str(at / "pwned")),
        ("write", str(at / "home" / "own" / "x")),
        ("write", "/dev/null"),
    ]
    _, _, _, _, given, *_ = settings.command()
    command = [SYSTEM_PYTHON, "-I", "-S", str(at / "sandbox.py"), given]
    done = subprocess.run(
        [*NOBODY, *command, SYSTEM_PYTHON, "-c", TRIES, json.dumps(tries)],
        capture_output=True,
        text=True,
        check=True,
        cwd=at / "home" / "own",
    )
    assert json.loads(done.stdout.splitlines()[-1]) == ["refused", "refused", "written", "written"]


def test_packages_are_listed_though_the_home_lies_in_a_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'ours'\nversion = '1'\n")
    folder = tmp_path / "var" / "environments" / "digest"
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--no-project", folder], check=True)
    assert packages_in(folder) == {}
