"""What pages of other apps show of services."""

from django import template

from deploy.models import Revision, Service
from deploy.selectors import current_revision, services_of_model
from models.models import RegisteredModel

register = template.Library()


@register.simple_tag
def services_of(model: RegisteredModel) -> list[tuple[Service, Revision]]:
    """List the services that serve some version of a model, each with its current revision."""
    return [(service, current_revision(service)) for service in services_of_model(model)]
