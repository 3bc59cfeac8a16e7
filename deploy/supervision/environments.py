"""What the model server of a revision runs in: which environment, or which image with a server."""

from django.conf import settings

from deploy.framework_versions import has_image, image_of, release_notice, serving_release
from deploy.models import Revision
from models.models import ModelVersion
from models.savedmodel.scan import library_ops
from workspace.compute.abilities import BuildsImages
from workspace.compute.environment_spec import (
    EnvironmentSpec,
    ModelServerKind,
    serving_packages,
)
from workspace.environments.services import get_or_create
from workspace.models import Environment, EnvironmentState
from workspace.targets.backends import backend_for


def environment_for(revision: Revision) -> Environment:
    """Return the environment of a revision, choosing it the first time.

    Where there are containers it is TensorFlow Serving's image, and our own model server where that
    cannot be had and may be replaced: the revision's notice says so from then on.
    """
    version, is_gpu = revision.model_version, bool(revision.resources.get("gpu"))
    target = revision.service.target
    if not isinstance(backend_for(target), BuildsImages):
        return _chosen(revision, serving_spec(version, gpu=is_gpu))
    own = own_image_spec(version, gpu=is_gpu)
    if not has_image(version, target, gpu=is_gpu) or _fell_back(revision):
        return _chosen(revision, own)
    image = image_of(version, gpu=is_gpu)
    environment = _chosen(revision, image_spec(version, image, gpu=is_gpu))
    may_fall_back = settings.TRAINYARD_SERVING_FALLBACK and not library_ops(version.scan or [])
    if environment.state == EnvironmentState.FAILED and may_fall_back:
        why = environment.error.strip().partition("\n")[0]
        said = (
            f"The image {image} could not be used, so this revision runs Trainyard's own model"
            f" server, which answers in the same way. {why}"
        )
        notices = (revision.notice, release_notice(version), said)
        revision.notice = " ".join(notice for notice in notices if notice)
        revision.save(update_fields=["notice"])
        return _chosen(revision, own)
    return environment


def serving_spec(version: ModelVersion, *, gpu: bool) -> EnvironmentSpec:
    """Return what our model server runs in, where its code is at hand."""
    release = serving_release(version)
    return EnvironmentSpec.of(release, gpu=gpu, packages=serving_packages(release))


def own_image_spec(version: ModelVersion, *, gpu: bool) -> EnvironmentSpec:
    """Return an image with our model server in it."""
    release = serving_release(version)
    packages = serving_packages(release)
    return EnvironmentSpec.of(release, gpu=gpu, packages=packages, server=ModelServerKind.OWN)


def image_spec(version: ModelVersion, image: str, *, gpu: bool) -> EnvironmentSpec:
    """Return an image that has a model server, with what the runner needs beside it."""
    release = serving_release(version)
    return EnvironmentSpec.of(release, gpu=gpu, image=image, server=ModelServerKind.IMAGE)


def _fell_back(revision: Revision) -> bool:
    """Return whether a revision was given up on TensorFlow Serving's image before."""
    before = revision.environment
    return before is not None and before.spec.get("server") == ModelServerKind.OWN


def _chosen(revision: Revision, spec: EnvironmentSpec) -> Environment:
    environment = get_or_create(revision.service.target, spec, revision.service.team)
    if revision.environment_id != environment.pk:
        revision.environment = environment
        revision.save(update_fields=["environment"])
    return environment
