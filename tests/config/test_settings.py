"""A wrong setting stops the start, and is named."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import database
from tests.config.server.launched import CLEAN, ROOT
from workspace.platform import env

pytestmark = pytest.mark.slow


def check(**variables: str) -> subprocess.CompletedProcess[str]:
    return run("manage.py", "check", **variables)


def shown(expression: str, **variables: str) -> str:
    """Return what the settings `s` say in a place with these variables."""
    ended = run("-c", f"import config.settings as s; print({expression})", **variables)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.removesuffix("\n")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**CLEAN, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TRAINYARD_PORT", "eighty", "is not a whole number from 1 to 65535"),
        ("TRAINYARD_PORT", "70000", "is not a whole number from 1 to 65535"),
        ("TRAINYARD_GRPC_PORT", "-1", "is not a whole number from 0 to 65535"),
        ("TRAINYARD_URL", "trainyard.example", "is not an address of the form http://HOST:PORT"),
        ("TRAINYARD_URL", "http://host/path", "is not an address of the form http://HOST:PORT"),
        ("TRAINYARD_CA_BUNDLE", "/no/such/file", "is not a file that can be read"),
        ("REDIS_URL", "localhost:6379", "use redis://HOST:PORT/0"),
        ("DATABASE_URL", "mysql://localhost/x", "is not of the form postgresql://"),
        ("DATABASE_URL", "postgresql://u:secret/x@h/db", "is not of the form postgresql://"),
        ("TRAINYARD_KEEP_REPLICAS_DAYS", "31", "set at least 32 days, or 0"),
        ("DEBUG", "maybe", "is not a yes or no"),
        ("TRAINYARD_TRUSTED_PROXIES", "*", "is not an IP address or network"),
        ("TRAINYARD_ALLOWED_ENGINE_NETWORKS", "10.0.0.0/8,lan", "'lan' is not an IP address"),
        ("SECRET_KEY_FILE", "/no/such/file", "cannot read /no/such/file"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    ended = check(**{"TRAINYARD_HOME": str(tmp_path), name: value})
    assert ended.returncode == 2
    assert ended.stderr.startswith(name.removesuffix("_FILE"))
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert "secret" not in ended.stderr


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = check(TRAINYARD_HOME=str(tmp_path / "file" / "home"))
    assert ended.returncode == 2
    assert ended.stderr.startswith("TRAINYARD_HOME: cannot make the folder")


def test_a_home_too_deep_for_a_socket_is_refused_unless_the_broker_is_elsewhere(
    tmp_path: Path,
) -> None:
    deep = str(tmp_path / ("d" * 100))
    refused = check(TRAINYARD_HOME=deep)
    assert refused.returncode == 2
    assert "is too long a path for the broker's socket" in refused.stderr
    elsewhere = "redis://localhost/0"
    assert shown("s.REDIS_URL", TRAINYARD_HOME=deep, REDIS_URL=elsewhere) == elsewhere


def test_the_secret_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    first = shown("s.SECRET_KEY", TRAINYARD_HOME=str(tmp_path))
    assert shown("s.SECRET_KEY", TRAINYARD_HOME=str(tmp_path)) == first
    assert len(first) > 50
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("secret_key*")] == ["secret_key"]


def test_a_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "secret"))
    assert env.text("SECRET_KEY") == "from a file"


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_HOME", "")
    assert env.text("TRAINYARD_HOME", "var") == "var"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("", "127.0.0.1"),
        ("http://localhost:8000", "127.0.0.1"),
        ("http://yard.example", "0.0.0.0"),  # noqa: S104 (what is expected, not opened)
    ],
)
def test_the_port_is_open_to_others_only_where_the_address_names_us_to_them(
    tmp_path: Path, url: str, address: str
) -> None:
    found = shown("s.TRAINYARD_BIND", TRAINYARD_HOME=str(tmp_path), TRAINYARD_URL=url)
    assert found == address


def test_cookies_are_secure_behind_https(tmp_path: Path) -> None:
    found = shown(
        "s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.CSRF_TRUSTED_ORIGINS",
        TRAINYARD_HOME=str(tmp_path),
        TRAINYARD_URL="https://yard.example",
    )
    assert found == "True True ['https://yard.example']"


def test_a_postgresql_address_may_hold_encoded_characters() -> None:
    found = database.settings_from("postgresql://me:p%40ss@db:5433/yard?sslmode=require", Path("/"))
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"], found["NAME"]) == (
        "me",
        "p@ss",
        "db",
        5433,
        "yard",
    )
    assert found["OPTIONS"] == {"sslmode": "require"}


def test_a_folder_that_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write everywhere, so the answer of the system is put in its place.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ImproperlyConfigured, match=r"TRAINYARD_HOME: cannot write to"):
        env.writable_folder("TRAINYARD_HOME", tmp_path)
