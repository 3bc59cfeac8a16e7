"""What the model server of a revision runs in: which environment, or which image with a server."""

import re

from django.conf import settings

from deploy.configuration import curated_version
from deploy.models import Revision
from models.models import ModelVersion
from workspace.environments import (
    CURATED,
    EnvironmentSpec,
    ServerKind,
    get_or_create,
    serving_packages,
)
from workspace.models import Environment, EnvironmentState, TargetKind

NO_IMAGE = "none"
WHOLE_VERSION = re.compile(r"\d+\.\d+\.\d+")


def environment_for(revision: Revision) -> Environment:
    """Give the environment of a revision, choosing it the first time.

    Where there are containers it is TensorFlow Serving's image, and our own model server where that
    cannot be had and may be replaced: the revision's notice says so from then on.
    """
    version, is_gpu = revision.model_version, bool(revision.resources.get("gpu"))
    target = revision.service.target
    if not TargetKind(target.kind).has_containers:
        return _chosen(revision, serving_spec(version, gpu=is_gpu))
    own = own_image_spec(version, gpu=is_gpu)
    image = image_of(version, gpu=is_gpu)
    if image == NO_IMAGE or _fell_back(revision):
        return _chosen(revision, own)
    environment = _chosen(revision, image_spec(version, image, gpu=is_gpu))
    if environment.state == EnvironmentState.FAILED and settings.TRAINYARD_SERVING_FALLBACK:
        why = environment.error.strip().partition("\n")[0]
        said = (
            f"The image {image} could not be used, so this revision runs Trainyard's own model"
            f" server, which answers in the same way. {why}"
        )
        revision.notice = f"{revision.notice} {said}".strip()
        revision.save(update_fields=["notice"])
        return _chosen(revision, own)
    return environment


def serving_spec(version: ModelVersion, *, gpu: bool) -> EnvironmentSpec:
    """Give what our model server runs in, where its code is at hand."""
    release = curated_version(version)
    return EnvironmentSpec.of(release, gpu=gpu, packages=serving_packages(release))


def own_image_spec(version: ModelVersion, *, gpu: bool) -> EnvironmentSpec:
    """Give an image with our model server in it."""
    release = curated_version(version)
    packages = serving_packages(release)
    return EnvironmentSpec.of(release, gpu=gpu, packages=packages, server=ServerKind.OWN)


def image_spec(version: ModelVersion, image: str, *, gpu: bool) -> EnvironmentSpec:
    """Give an image that has a model server, with what the runner needs beside it."""
    release = curated_version(version)
    return EnvironmentSpec.of(release, gpu=gpu, image=image, server=ServerKind.IMAGE)


def image_of(version: ModelVersion, *, gpu: bool) -> str:
    """Name the image that serves a model: the one of its framework's version."""
    name = settings.TRAINYARD_SERVING_GPU_IMAGE if gpu else settings.TRAINYARD_SERVING_IMAGE
    exact = version.framework_version
    if not WHOLE_VERSION.fullmatch(exact):
        exact = CURATED[curated_version(version)].tensorflow
    return str(name.replace("{version}", exact))


def _fell_back(revision: Revision) -> bool:
    """Tell whether a revision was given up on TensorFlow Serving's image before."""
    before = revision.environment
    return before is not None and before.spec.get("server") == ServerKind.OWN


def _chosen(revision: Revision, spec: EnvironmentSpec) -> Environment:
    environment = get_or_create(revision.service.target, spec)
    if revision.environment_id != environment.pk:
        revision.environment = environment
        revision.save(update_fields=["environment"])
    return environment
