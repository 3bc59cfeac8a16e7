"""The images that builds start from: found on the engine or pulled, and seen to be usable."""

from typing import Any

from docker import DockerClient
from docker.errors import APIError, ImageNotFound
from docker.utils import parse_repository_tag

from workspace.compute.access import ImageLogin, TargetAccess
from workspace.compute.base import EnvironmentBuildFailed
from workspace.compute.builds.build_log import BuildLog

NO_SPACE = "no space left on device"
UNREACHABLE = ("no such host", "dial tcp", "i/o timeout", "connection refused", "timeout exceeded")
REFUSED = ("unauthorized", "denied", "authentication required", "no basic auth")


def base_image(
    client: DockerClient,
    name: str,
    *,
    access: TargetAccess,
    login: ImageLogin | None,
    is_the_users: bool,
    log: BuildLog,
) -> Any:
    """Return the image to start from, for the engine's own kind of machine.

    One that somebody chose is pulled each time, so that nobody uses an image that another was
    allowed to pull; one that came from no registry is taken as it is. Raises
    EnvironmentBuildFailed.
    """
    image = find(client, name)
    if image is None or (is_the_users and image.attrs.get("RepoDigests")):
        log.say(f"Pulling {name}.")
        image = _pull(client, name, login or _login_of(access, name), log)
    wanted, has = client.version()["Arch"], image.attrs.get("Architecture")
    if has and has != wanted:
        raise EnvironmentBuildFailed(
            f"The image {name} is for {has} machines, and this engine's is {wanted}. Use an image"
            f" for {wanted}, or a multi-platform image."
        )
    return image


def find(client: DockerClient, name: str) -> Any | None:
    try:
        return client.images.get(name)
    except ImageNotFound:
        return None


def pull_problem(name: str, said: str, *, has_login: bool) -> str:
    """Say in a sentence why an image could not be had, and the way out."""
    words = said.lower()
    if NO_SPACE in words:
        return no_space(said)
    if "no matching manifest" in words or "does not match the specified platform" in words:
        return f"The image {name} has no version for this engine's CPU architecture: {said}"
    if "manifest unknown" in words or ("manifest for" in words and "not found" in words):
        return f"The image {name} does not exist: check its name and its tag. ({said})"
    if any(word in words for word in UNREACHABLE):
        return (
            f"The registry of the image {name} cannot be reached from the engine: {said}. Check the"
            " name, or load the image into the engine."
        )
    if any(word in words for word in REFUSED):
        how = "the login is rejected" if has_login else "it requires a login"
        return (
            f"The image {name} cannot be pulled: it does not exist, or {how}. Give"
            f" image_registry_details with a username and a password that may pull it. ({said})"
        )
    return f"The image {name} cannot be pulled: {said}"


def no_space(said: str) -> str:
    return (
        "The engine has no space left. Remove environments that nothing uses, or give it a larger"
        f" disk. ({said})"
    )


def _login_of(access: TargetAccess, name: str) -> ImageLogin | None:
    """Return the login of the target's registry for images that lie there."""
    if access.registry and access.registry_user and name.startswith(f"{access.registry}/"):
        return ImageLogin(access.registry_user, access.registry_password)
    return None


def _pull(client: DockerClient, name: str, login: ImageLogin | None, log: BuildLog) -> Any:
    repository, tag = parse_repository_tag(name)
    try:
        for line in client.api.pull(
            repository,
            tag or "latest",
            stream=True,
            decode=True,
            auth_config=auth_of(login),
        ):
            if "error" in line:
                raise EnvironmentBuildFailed(
                    pull_problem(name, str(line["error"]), has_login=login is not None)
                )
            if not line.get("progressDetail"):
                log.say(f"{line.get('id', '')} {line.get('status', '')}".strip())
    except APIError as error:
        said = str(error.explanation or error)
        raise EnvironmentBuildFailed(
            pull_problem(name, said, has_login=login is not None)
        ) from error
    return client.images.get(name)


def auth_of(login: ImageLogin | None) -> dict[str, str]:
    """Return what the engine shows a registry; never what this machine's user is logged in as."""
    return {"username": login.username, "password": login.password} if login else {}
