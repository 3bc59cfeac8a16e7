"""Every address that Django answers, asked as each kind of person, by page and by token."""

from collections.abc import Iterator
from typing import NamedTuple

from django.db import transaction
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_FOR_THIS_METHOD = 405
SAMPLES = {"slug": "default", "number": "1", "path": "a/b", "kind": "zip", "part": "name"}
# As the services tell a stranger; other things that are not there are told by other words.
NO_TEAM = "that you belong to"


class Route(NamedTuple):
    method: str
    pattern: str

    @property
    def is_api(self) -> bool:
        return self.pattern.startswith("api/") or not self.takes_session

    @property
    def takes_session(self) -> bool:
        return "/api/2.0/" not in self.pattern and "/api/3.0/" not in self.pattern

    @property
    def address(self) -> str:
        """Return an address of the team `default`, in which little is there."""
        address = self.pattern
        while "<" in address:
            before, _, rest = address.partition("<")
            inside, _, after = rest.partition(">")
            kind, _, name = inside.rpartition(":")
            value = SAMPLES.get(name) or ("1" if kind == "int" else "local")
            address = before + value + after
        return f"/{address}"


def patterns() -> Iterator[str]:
    """Yield every pattern of the URL configuration once."""
    yield from dict.fromkeys(_patterns(get_resolver(), ""))


def _patterns(resolver: URLResolver, before: str) -> Iterator[str]:
    for entry in resolver.url_patterns:
        pattern = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _patterns(entry, pattern)
        elif isinstance(entry, URLPattern):
            yield pattern


def answer_of(route: Route, client: Client, token: str = "") -> HttpResponseBase:
    """Ask, and undo whatever that did."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with transaction.atomic():
        answer: HttpResponseBase = client.generic(
            route.method, route.address, "{}", "application/json", headers=headers
        )
        if answer.streaming:
            list(getattr(answer, "streaming_content", ()))  # its files are closed at its end
        transaction.set_rollback(True)
    return answer


def is_refused(answer: HttpResponseBase) -> bool:
    """Return whether an answer is to somebody who may not, rather than about something missing."""
    if answer.status_code in {301, 302}:
        return answer.headers["Location"].startswith("/login/")
    if answer.status_code == 404:
        return NO_TEAM in getattr(answer, "text", "")
    return answer.status_code in {401, 403}
