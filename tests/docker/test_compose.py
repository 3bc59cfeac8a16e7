"""compose.yaml, started for real: every part in a container, with PostgreSQL and Valkey."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from docker.models.containers import Container

from tests.config.server.launched import CLEAN, ROOT
from tests.docker.compose import Composed, composed
from tests.docker.engine import BASE_IMAGE, Engine
from tests.product.product import OVER, PASSWORD
from tests.product.sources import packed
from tests.waiting import wait_for

pytestmark = pytest.mark.docker
BUILD_AND_RUN_SECONDS = 1200


@pytest.fixture(scope="module")
def compose(engine: Engine) -> Iterator[Composed]:
    with composed(engine) as made:
        yield made


def containers(engine: Engine, compose: Composed) -> dict[str, list[Container]]:
    """Return the containers of a project by the name of their service."""
    found: dict[str, list[Container]] = {}
    with engine.client() as client:
        mark = f"com.docker.compose.project={compose.project}"
        for container in client.containers.list(all=True, filters={"label": mark}):
            service = container.labels["com.docker.compose.service"]
            found.setdefault(service, []).append(container)
    return found


def is_healthy(compose: Composed) -> bool:
    try:
        return httpx.get(f"{compose.url}/api/v1/health", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def team_api(compose: Composed) -> httpx.Client:
    token = compose("exec", "-T", "web", "python", "manage.py", "token", "admin").split()[-1]
    return httpx.Client(
        base_url=f"{compose.url}/api/v1/teams/default",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )


def test_every_part_becomes_healthy(engine: Engine, compose: Composed) -> None:
    wait_for(lambda: is_healthy(compose), "a healthy product", 120)

    def web_is_healthy() -> bool:
        (web,) = containers(engine, compose)["web"]
        return bool(web.attrs["State"]["Health"]["Status"] == "healthy")

    wait_for(web_is_healthy, "the health check of web", 60)
    parts = containers(engine, compose)
    assert len(parts["worker"]) == 2
    assert parts["start"][0].attrs["State"]["ExitCode"] == 0
    running = {name for name, ours in parts.items() if all(one.status == "running" for one in ours)}
    assert running == {"web", "worker", "supervisor", "database", "broker"}


def test_only_worker_and_supervisor_see_the_engine(engine: Engine, compose: Composed) -> None:
    seeing = {
        name
        for name, ours in containers(engine, compose).items()
        for one in ours
        if any(mount["Destination"].endswith("docker.sock") for mount in one.attrs["Mounts"])
    }
    assert seeing == {"worker", "supervisor"}


def test_no_part_is_root_or_can_become_it(compose: Composed) -> None:
    for part in ("web", "worker", "supervisor"):
        status = compose("exec", "-T", part, "cat", "/proc/self/status")
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert facts["Uid"].split() == ["10000"] * 4, part
        assert facts["NoNewPrivs"].strip() == "1", part
        assert int(facts["CapBnd"], 16) == 0, part


def test_the_admin_logs_in(compose: Composed) -> None:
    with httpx.Client(base_url=compose.url, follow_redirects=True, timeout=60) as browser:
        browser.get("/login/")
        page = browser.post(
            "/login/",
            data={
                "username": "admin",
                "password": PASSWORD,
                "csrfmiddlewaretoken": browser.cookies["csrftoken"],
            },
        )
        assert str(page.url) == f"{compose.url}/t/default/"
        assert page.status_code == 200


def submit(api: httpx.Client, program: str) -> int:
    config = {
        "experiment": "first",
        "entry_script": "train.py",
        "custom_docker_image": BASE_IMAGE,
    }
    answer = api.post(
        "/runs",
        files={"source": ("source.zip", packed({"train.py": program}))},
        data={"config": json.dumps(config)},
    )
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["number"]
    return number


def end_of(api: httpx.Client, number: int) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        run: dict[str, Any] = api.get(f"/runs/{number}").json()
        return run if run["status"] in OVER else None

    return wait_for(ended, f"the end of run {number}", BUILD_AND_RUN_SECONDS)


def test_a_run_ends_completed_on_the_engine_of_the_host(compose: Composed) -> None:
    with team_api(compose) as api:
        (target,) = api.get("/targets").json()
        assert (target["name"], target["kind"]) == ("local", "docker")
        number = submit(
            api,
            "import os\nprint('hello from', os.getuid())\n"
            "open('outputs/result', 'w').write('42')\n",
        )
        run = end_of(api, number)
        assert run["status"] == "Completed", run
        assert api.get(f"/runs/{number}/logs/worker-0").text == "hello from 10001\n"
        assert api.get(f"/runs/{number}/files/outputs/result").text == "42"


@pytest.mark.tensorflow
def test_the_journey_of_the_demo_trains_registers_deploys_and_scores(compose: Composed) -> None:
    token = compose("exec", "-T", "web", "python", "manage.py", "token", "admin").split()[-1]
    done = subprocess.run(
        [sys.executable, "-m", "config.server.demo"],
        cwd=ROOT,
        env=CLEAN | {"TRAINYARD_URL": compose.url, "TRAINYARD_TOKEN": token, "ONCE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr)
    assert "The service says it is a 7" in done.stdout
    with team_api(compose) as api:
        service = api.get("/services/digits").json()
        assert (service["target"], service["state"]) == ("local", "Stopped")


def test_what_a_killed_container_printed_is_not_lost(engine: Engine, compose: Composed) -> None:
    with team_api(compose) as api, engine.client() as client:
        number = submit(api, "import time\nprint('last words', flush=True)\ntime.sleep(600)\n")
        wait_for(
            lambda: "last words" in api.get(f"/runs/{number}/logs/worker-0").text,
            "the first line",
            BUILD_AND_RUN_SECONDS,
        )
        mark: dict[str, Any] = {"label": "trainyard.process=worker-0"}
        running = client.containers.list(filters=mark)
        (ours,) = [one for one in running if f"-run-{number}-1-" in (one.name or "")]
        ours.kill()
        run = end_of(api, number)
        assert run["status"] == "Failed"
        assert api.get(f"/runs/{number}/logs/worker-0").text == "last words\n"
        assert run["processes"][0]["exit_code"] == 137, run


def test_a_new_project_goes_on_from_a_backup(compose: Composed) -> None:
    with team_api(compose) as api:
        kept = api.get("/runs").json()
    backup = compose.raw("exec", "-T", "web", "python", "manage.py", "backup", "-")
    compose("down", "--volumes", "--timeout", "5")
    restore = ("run", "--rm", "-T", "start", "python", "manage.py", "restore", "-")
    assert "Restored the backup of" in compose(*restore, given=backup)
    compose("up", "--detach")
    wait_for(lambda: is_healthy(compose), "a healthy product", 120)
    with team_api(compose) as api:
        assert api.get("/runs").json() == kept
