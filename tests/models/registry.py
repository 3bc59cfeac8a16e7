"""Versions in a registry, made for tests without an upload."""

from io import BytesIO
from typing import Any

from django.contrib.auth.models import User

from deploy.models import Revision, Service
from models.models import ModelVersion
from models.registration import Registration
from models.services import register_from_archive
from tests.factories import make_target
from tests.models.saved_models import as_zip, model_files
from workspace.models import ComputeTarget, Team


def make_version(
    team: Team, by: User | None = None, name: str = "digits", *, graph: Any = None, **said: Any
) -> ModelVersion:
    """Register a small SavedModel; `graph` is for saved_models.graph_file."""
    return register_from_archive(
        team=team,
        by=by,
        file=BytesIO(as_zip(model_files(**(graph or {}))).read()),
        filename="m.zip",
        registration=Registration(name=name, **said),
    )


def make_service(version: ModelVersion, name: str = "scorer", **fields: Any) -> Service:
    """Make a service whose revision 1 is a version."""
    team = version.model.team
    target = ComputeTarget.objects.filter(team=team).first() or make_target(team)
    service = Service.objects.create(team=team, name=name, target=target, **fields)
    add_revision(service, version)
    return service


def add_revision(service: Service, version: ModelVersion, **fields: Any) -> Revision:
    number = service.revisions.count() + 1
    return Revision.objects.create(service=service, number=number, model_version=version, **fields)
