"""docs/rest.md lists every route of the REST API."""

from django.urls import resolve

from config.api import api
from deploy.gateway.application import SCORE
from tests.docs.pages import codes_in, rows_of

PREFIX = "/api/v1/"
SCORING = "teams/{slug}/services/{name}/score"
OUTSIDE_NINJA = {("GET", "health"), ("POST", SCORING)}


def test_every_route_is_listed_and_nothing_else() -> None:
    routes = {
        (method.upper(), path.removeprefix(PREFIX))
        for path, operations in api.get_openapi_schema()["paths"].items()
        for method in operations
    }
    listed = [(row[0], codes_in(row[1])[0]) for row in rows_of("docs/rest.md", "method")]
    assert len(listed) == len(set(listed))
    assert set(listed) == routes | OUTSIDE_NINJA


def test_the_routes_beside_the_openapi_document_exist() -> None:
    assert resolve(f"{PREFIX}health").view_name == "health"
    assert SCORE.fullmatch(f"{PREFIX}{SCORING}".encode())
