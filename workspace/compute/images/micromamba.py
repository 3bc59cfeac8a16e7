"""The program that installs conda packages, fetched from the channel that they come from."""

import io
import tarfile
import urllib.error
import urllib.request

from workspace.compute.base import EnvironmentBuildFailed

VERSION = "1.5.8-0"
PLATFORMS = {"amd64": "linux-64", "arm64": "linux-aarch64"}
PROGRAM = "bin/micromamba"
ANSWER_SECONDS = 15
REMEDIES = (
    "Take the packages from pip (pip_packages) or from a custom_docker_image, or have an admin set"
    " TRAINYARD_CONDA_CHANNEL to the address of a channel that this server can reach."
)


def fetch(channel: str, machine: str) -> bytes:
    """Return the program for a kind of machine. Raises EnvironmentBuildFailed with the remedy."""
    if not channel:
        raise EnvironmentBuildFailed(f"Conda packages need a channel, and none is set. {REMEDIES}")
    platform = PLATFORMS.get(machine)
    if platform is None:
        raise EnvironmentBuildFailed(f"Conda packages cannot be installed on {machine} machines.")
    url = f"{channel}/{platform}/micromamba-{VERSION}.tar.bz2"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - the admin's
            content = answer.read()
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:bz2") as package:
            program = package.extractfile(PROGRAM)
            if program is None:
                raise KeyError(PROGRAM)
            return program.read()
    except (OSError, ValueError, KeyError, tarfile.TarError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        raise EnvironmentBuildFailed(
            f"Conda packages need the channel {channel}, which did not give {url} ({cause})."
            f" {REMEDIES}"
        ) from error
