"""What a build inside a container is told of indexes, proxies and certificates, and never keeps."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from workspace.compute.image_layers import CA_BUNDLE, CACHE, HOME

PASSED_ON = re.compile(
    r"(UV|PIP)_(INDEX\w*|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|HTTP_TIMEOUT"
    r"|DEFAULT_TIMEOUT|TRUSTED_HOST|INSECURE_HOST|KEYRING_PROVIDER)"
    r"|(?i:https?_proxy|all_proxy|no_proxy)"
)
BUNDLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
HTTP_TIMEOUT_SECONDS = "180"
LOCAL_PLACE = re.compile(r"(^|\s)(file:|/|~)")


def conda_channel(environ: Mapping[str, str]) -> str:
    """Give the address of the channel that conda packages come from; "" where none is set."""
    return environ.get("TRAINYARD_CONDA_CHANNEL", "").rstrip("/")


def settings_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the variables of a build's steps; what lies on this machine's disk means nothing there.

    Proxies and indexes may carry passwords: they are given to each step alone.
    """
    passed = {
        name: value
        for name, value in environ.items()
        if PASSED_ON.fullmatch(name) and not LOCAL_PLACE.search(value)
    }
    certificates = dict.fromkeys(BUNDLES, CA_BUNDLE) if ca_bundle(environ) else {}
    return {
        "UV_HTTP_TIMEOUT": HTTP_TIMEOUT_SECONDS,
        **passed,
        **certificates,
        "HOME": "/root",
        "TRAINYARD_CONDA_CHANNEL": conda_channel(environ),
        "UV_CACHE_DIR": f"{CACHE}/uv",
        "UV_LINK_MODE": "copy",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_INSTALL_DIR": "/opt/python",
        "UV_PYTHON_PREFERENCE": "system",
        "NO_COLOR": "1",
    }


def ca_bundle(environ: Mapping[str, str]) -> bytes:
    """Give the certificates that this machine trusts where it was told of a bundle."""
    for name in BUNDLES:
        path = Path(environ.get(name) or os.devnull)
        if path.is_file():
            return path.read_bytes()
    return b""


def user_settings() -> dict[str, str]:
    """Give the variables of a step that runs as the ordinary user and looks at what is there."""
    return {"HOME": HOME, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
