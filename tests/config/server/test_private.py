"""What other users of the machine, and the programs of runs, find of a product that runs."""

import errno
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from config.server.startup import tighten
from tests.config.server.launched import LaunchedProduct
from workspace.compute.local.ports import free_port

PASSWORD = "a-pass-phrase-for-this-test"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Make a home as an earlier version left it: open to all, a database in it."""
    found = tmp_path / "yard"
    (found / "groups" / "run-1").mkdir(parents=True)
    (found / "groups" / "run-1" / "worker-0.log").write_text("secret")
    (found / "environments" / "a").mkdir(parents=True)
    (found / "link").symlink_to("/etc/hostname")
    for folder, folders, files in os.walk(found):
        for name in (*folders, *files):
            if name != "link":
                Path(folder, name).chmod(0o755)
    found.chmod(0o755)
    return found


def open_to_others(home: Path) -> list[str]:
    return [
        str(path)
        for path in [home, *home.rglob("*")]
        if not path.is_symlink() and path.stat().st_mode & 0o077
    ]


def kept_readable(home: Path) -> list[str]:
    return [str(home / "environments"), str(home / "environments" / "a")]


def test_what_an_earlier_version_left_open_is_tightened(home: Path) -> None:
    before = Path("/etc/hostname").stat().st_mode
    assert tighten(home) == ""
    assert open_to_others(home) == kept_readable(home)
    assert Path("/etc/hostname").stat().st_mode == before
    (home / "later").mkdir(0o755)
    assert tighten(home) == ""
    assert open_to_others(home) == kept_readable(home)


@pytest.mark.parametrize("reason", [errno.EPERM, errno.EROFS])
def test_what_cannot_be_tightened_is_named_and_keeps_no_other_from_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    foreign = {home / "groups", home / "groups" / "run-1" / "worker-0.log"}
    for name in ("before", "later"):
        (home / "groups" / name).mkdir()
        (home / "groups" / name).chmod(0o755)
    change = Path.chmod

    def chmod(path: Path, mode: int) -> None:
        if path in foreign:
            raise OSError(reason, os.strerror(reason), str(path))
        change(path, mode)

    monkeypatch.setattr(Path, "chmod", chmod)
    said = tighten(home)
    assert said.startswith(f"{home / 'groups'} cannot be kept from others ({os.strerror(reason)})")
    assert set(open_to_others(home)) == {*kept_readable(home), *map(str, foreign)}


def test_a_folder_that_is_removed_meanwhile_is_no_trouble(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def remove_and_scan(folder: str | int) -> object:
        if folder == str(home / "groups" / "run-1"):
            shutil.rmtree(home / "groups" / "run-1")
        return scan(folder)

    monkeypatch.setattr("config.server.startup.os.scandir", remove_and_scan)
    assert tighten(home) == ""
    assert open_to_others(home) == kept_readable(home)


@pytest.fixture
def launched(
    tmp_path: Path, home: Path, product_database: dict[str, str]
) -> Iterator[LaunchedProduct]:
    variables = {
        "TRAINYARD_HOME": str(home),
        "TRAINYARD_PORT": str(free_port(())),
        "TRAINYARD_GRPC_PORT": "0",
        "TRAINYARD_ADMIN_PASSWORD": PASSWORD,
        **product_database,
    }
    product = LaunchedProduct(tmp_path, "-m", "config.server.launch", environment=variables)
    product.wait_to_hear("Trainyard is up at", seconds=180)
    yield product
    product.end()


def log_in(url: str, password: str, **headers: str) -> int:
    """Log in as the admin, and return the status of the answer."""
    cookies = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    browser.open(f"{url}/login/").close()
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token or ""}
    request = urllib.request.Request(  # noqa: S310
        f"{url}/login/", urllib.parse.urlencode(form).encode(), headers
    )
    try:
        with browser.open(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.processes
def test_a_product_that_runs_keeps_its_files_password_and_log_in_limit(
    launched: LaunchedProduct, home: Path
) -> None:
    parts = launched.parts()
    assert {"web", "supervisor", "broker", "worker-1"} <= parts.keys()
    for name, pid in {"launcher": launched.process.pid, **parts}.items():
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert PASSWORD.encode() not in environment, name
    assert open_to_others(home) == kept_readable(home)
    url = launched.said.split("Trainyard is up at ")[1].split()[0]
    assert log_in(url, PASSWORD) == 200
    guesses = [
        log_in(url, "nonsense", **{"X-Forwarded-For": f"198.51.100.{number}"})
        for number in range(6)
    ]
    assert guesses == [422] * 5 + [429]
