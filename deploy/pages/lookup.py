"""Find the service of a page, for those who may see it or change it."""

from deploy import selectors
from deploy.models import Service
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.requests import SignedInRequest


def visible_service(request: SignedInRequest, slug: str, name: str) -> Service:
    return selectors.service_of(team_for(request.user, slug), name)


def editable_service(request: SignedInRequest, slug: str, name: str) -> Service:
    """Return a service to someone who is at least a member of its team."""
    return selectors.service_of(team_for(request.user, slug, Role.MEMBER), name)
