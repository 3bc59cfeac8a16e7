"""Which TensorFlow serves a model version: the image of its own, or the nearest that is offered."""

import re

from django.conf import settings

from models.frameworks import release_of, tensorflow_release_for
from models.models import ModelVersion
from workspace.compute.abilities import BuildsImages
from workspace.compute.environment_spec import CURATED
from workspace.models import ComputeTarget
from workspace.targets.backends import backend_for

NO_IMAGE = "none"
WHOLE_VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
SHORT_VERSION = re.compile(r"\d+\.\d+", re.ASCII)


def serving_release(version: ModelVersion) -> str:
    """Return the curated release whose environment serves a model, such as 2.15 for 2.3.0."""
    return tensorflow_release_for(version.framework_version)


def image_of(version: ModelVersion, *, gpu: bool) -> str:
    """Name the image that serves a model: the one of its framework's version."""
    name = settings.TRAINYARD_SERVING_GPU_IMAGE if gpu else settings.TRAINYARD_SERVING_IMAGE
    return str(name.replace("{version}", _image_version(version.framework_version)))


def has_image(version: ModelVersion, target: ComputeTarget, *, gpu: bool) -> bool:
    """Return whether an image of TensorFlow Serving is to serve a model on a target."""
    has_containers = isinstance(backend_for(target), BuildsImages)
    return has_containers and image_of(version, gpu=gpu) != NO_IMAGE


def release_notice(version: ModelVersion) -> str:
    """Say that our own model server runs another release than a version is registered for."""
    release = serving_release(version)
    wanted, offered = release_of(version.framework_version), release_of(release)
    if wanted == offered:
        return ""
    server = f"TensorFlow {CURATED[release].tensorflow}"
    if wanted is None or offered is None:
        return f"It is not known which TensorFlow wrote {version}; it is served with {server}."
    named = f"{version} is registered for TensorFlow {version.framework_version}"
    if wanted < offered:
        return f"{named}; it is served with {server}, the next newer one that is offered here."
    return (
        f"{named}, which is newer than any that is offered here. It is tried with {server}, which"
        " may be unable to load it."
    )


def _image_version(version: str) -> str:
    if WHOLE_VERSION.fullmatch(version):
        return version
    if SHORT_VERSION.fullmatch(version) and version not in CURATED:
        return f"{version}.0"
    return CURATED[tensorflow_release_for(version)].tensorflow
