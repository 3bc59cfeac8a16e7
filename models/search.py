"""Finding models among many: by name, tag, framework version and stage, page by page."""

from dataclasses import dataclass

from django.db.models import Exists, OuterRef, QuerySet

from models.models import ModelVersion, RegisteredModel, Stage
from models.selectors import models_of
from workspace.models import Team
from workspace.platform.errors import FieldError, Invalid
from workspace.platform.requests import is_whole_number
from workspace.tags import with_tag

PAGE = 50
MAX_PAGES = 100_000


@dataclass(frozen=True)
class Page:
    models: list[RegisteredModel]
    number: int
    has_next: bool


def search_models(
    team: Team, *, q: str = "", tag: str = "", framework: str = "", stage: str = ""
) -> QuerySet[RegisteredModel]:
    """Return the models whose name holds `q` and of which one version has all the rest.

    `tag` is a name, or name: value; `framework` a version such as 2.15, or its beginning.
    """
    found = models_of(team)
    if q:
        found = found.filter(name__icontains=q)
    versions = ModelVersion.objects.filter(model=OuterRef("pk"), deleted_at=None)
    if stage:
        if stage not in Stage.values:
            raise Invalid.of(FieldError("stage", f"Use one of {', '.join(Stage.values)}."))
        versions = versions.filter(stage=stage)
    if framework:
        versions = versions.filter(framework_version__startswith=framework)
    if tag:
        versions = with_tag(versions, tag)
    return found.filter(Exists(versions)) if stage or framework or tag else found


def paginate(models: QuerySet[RegisteredModel], number: str) -> Page:
    """Return one page, counted from 1. Raises Invalid for a number that is none."""
    wanted = int(number) if is_whole_number(number, max_digits=8) else 0
    if not 1 <= wanted <= MAX_PAGES:
        raise Invalid.of(FieldError("page", "Use a page number, from 1."))
    start = (wanted - 1) * PAGE
    found = list(models[start : start + PAGE + 1])
    return Page(found[:PAGE], wanted, len(found) > PAGE)
