"""Variables of builds in containers: indexes, proxies, certificates. No image keeps them."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from workspace.compute.images.layers import CA_BUNDLE, CACHE, HOME
from workspace.platform import env

FORWARDED_VARIABLES = re.compile(
    r"(UV|PIP)_(INDEX\w*|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|HTTP_TIMEOUT"
    r"|DEFAULT_TIMEOUT|TRUSTED_HOST|INSECURE_HOST|KEYRING_PROVIDER)"
    r"|(?i:https?_proxy|all_proxy|no_proxy)"
)
BUNDLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
HTTP_TIMEOUT_SECONDS = "180"
LOCAL_PLACE = re.compile(r"(^|\s)(file:|/|~)")


def conda_channel() -> str:
    """Return the address of the channel that conda packages come from; "" where none is set."""
    return env.text("TRAINYARD_CONDA_CHANNEL").rstrip("/")


def build_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a build's steps, without paths of this machine.

    Proxies and indexes may contain passwords, so each step gets them anew.
    """
    passed = {
        name: value
        for name, value in environ.items()
        if FORWARDED_VARIABLES.fullmatch(name) and not LOCAL_PLACE.search(value)
    }
    certificates = dict.fromkeys(BUNDLES, CA_BUNDLE) if ca_bundle(environ) else {}
    return {
        "UV_HTTP_TIMEOUT": HTTP_TIMEOUT_SECONDS,
        **passed,
        **certificates,
        "HOME": "/root",
        "TRAINYARD_CONDA_CHANNEL": conda_channel(),
        "UV_CACHE_DIR": f"{CACHE}/uv",
        "UV_LINK_MODE": "copy",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_INSTALL_DIR": "/opt/python",
        "UV_PYTHON_PREFERENCE": "system",
        "NO_COLOR": "1",
    }


def ca_bundle(environ: Mapping[str, str]) -> bytes:
    """Return the certificates that this machine trusts, where a variable names a bundle."""
    for name in BUNDLES:
        path = Path(environ.get(name) or os.devnull)
        if path.is_file():
            return path.read_bytes()
    return b""


def user_variables() -> dict[str, str]:
    """Return the variables of a step that runs as the ordinary user and looks at what is there."""
    return {"HOME": HOME, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
