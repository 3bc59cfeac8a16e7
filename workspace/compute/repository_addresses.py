"""Packages from a repository: the address of an archive that has the same code."""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

FROM_REPOSITORY = re.compile(
    r"(?:(?:-e|--editable)[=\s]*)?"
    r"(?:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*(?:\s*\[[^\]]*\])?)\s*@\s*)?"
    r"(?P<system>git|hg|svn|bzr)\+(?P<address>\S+)"
)
# An address as ssh takes it: user@host:path.
SSH_PLACE = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w.-]+):(?!//)(?P<path>.+)")


def archive_instead_of(line: str) -> str:
    """Say what to write instead of a line with a repository, or return nothing for another line."""
    found = FROM_REPOSITORY.match(line)
    if not found:
        return ""
    why = f"Packages can't be installed from a repository ({found['system']}), only from archives."
    archive = _archive(found["name"] or "", found["address"]) if found["system"] == "git" else ""
    if not archive:
        return f"{why} Write NAME @ https:// and the address of an archive of the code."
    return f"{why} Write: {archive}"


def _archive(name: str, address: str) -> str:
    ssh = SSH_PLACE.fullmatch(address)
    try:
        parts = urlsplit(f"ssh://{ssh['host']}/{ssh['path']}" if ssh else address)
        host = _host(parts)
    except ValueError:
        return ""
    path, _, revision = parts.path.partition("@")
    repository = path.strip("/").removesuffix(".git")
    if not host or "/" not in repository:
        return ""
    given = dict(parse_qsl(parts.fragment))
    name = name or given.get("egg") or repository.rpartition("/")[2]
    folder = given.get("subdirectory")
    place = _place_of_archive(host, repository, revision or "HEAD")
    return f"{name} @ https://{host}/{place}" + (f"#subdirectory={folder}" if folder else "")


def _host(parts: SplitResult) -> str:
    """Return the host as written, without user and password; the port is that of https."""
    host = parts.netloc.rpartition("@")[2]
    return host if parts.scheme in ("http", "https") else host.partition(":")[0]


def _place_of_archive(host: str, repository: str, revision: str) -> str:
    """Return where GitLab and Bitbucket have it, and GitHub, Gitea and Forgejo."""
    if "gitlab" in host:
        flat = revision.replace("/", "-")
        name = repository.rpartition("/")[2]
        return f"{repository}/-/archive/{revision}/{name}-{flat}.tar.gz"
    if "bitbucket" in host:
        return f"{repository}/get/{revision}.tar.gz"
    return f"{repository}/archive/{revision}.tar.gz"
