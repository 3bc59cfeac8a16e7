"""The settings of the tests: those of the product, in their own folder, without a broker."""

import os
import shutil
import tempfile
from pathlib import Path

SESSION_HOME = Path(tempfile.mkdtemp(prefix="trainyard-tests-"))
OWNER = os.getpid()
os.environ["TRAINYARD_HOME"] = str(SESSION_HOME)
os.environ.setdefault("UV_LINK_MODE", "hardlink")  # copies take half a minute each
for name in (
    "REDIS_URL",
    "TRAINYARD_URL",
    "TRAINYARD_PORT",
    "TRAINYARD_GRPC_PORT",
    "ALLOWED_HOSTS",
    "DEBUG",
):
    os.environ.pop(name, None)

from config.settings import *  # noqa: E402, F403
from config.settings import ALLOWED_HOSTS, DATABASES  # noqa: E402

ALLOWED_HOSTS = [*ALLOWED_HOSTS, "testserver"]
DATABASES["default"]["TEST"] = (
    {"NAME": SESSION_HOME / "tests.sqlite3"}
    if DATABASES["default"]["ENGINE"].endswith("sqlite3")
    else {}
)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
STATIC_ROOT = SESSION_HOME / "static"
STATIC_ROOT.mkdir()
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}


def remove_session_home() -> None:
    """Leave nothing behind; a forked child must not take its parent's folder away."""
    if os.getpid() == OWNER:
        shutil.rmtree(SESSION_HOME, ignore_errors=True)
