"""Which TensorFlow that is offered here reads what another one wrote."""

import re

from workspace.compute.environment_spec import CURATED

RELEASE = re.compile(r"(\d{1,6})\.(\d{1,6})(?![\d])", re.ASCII)


def release_of(version: str) -> tuple[int, int] | None:
    """Return major and minor of a version, such as (2, 4) of 2.4.0-dev20200910, if it has them."""
    found = RELEASE.match(version)
    return (int(found[1]), int(found[2])) if found else None


def tensorflow_release_for(version: str) -> str:
    """Return the curated release that reads what a version wrote: its own, or the next newer one.

    TensorFlow promises that newer ones read what older ones wrote. It is the newest one for what is
    newer than all, or of unknown version.
    """
    known = sorted(CURATED, key=lambda release: release_of(release) or (0, 0))
    wanted = release_of(version)
    if wanted is None:
        return known[-1]
    return next((name for name in known if (release_of(name) or (0, 0)) >= wanted), known[-1])
