"""The web process: who answers which address.

Runners and scoring clients are many and quick, so their addresses go past Django's middleware.
"""

import os
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any, cast

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

Scope = dict[str, Any]
Application = Callable[[Scope, Callable[..., Any], Callable[..., Any]], Awaitable[None]]

whole_django = get_asgi_application()

from config.body_limit import with_body_limit  # noqa: E402 - after Django is set up
from deploy.gateway import application as gateway  # noqa: E402
from deploy.metrics import PATH as METRICS  # noqa: E402
from deploy.metrics import application as metrics  # noqa: E402
from deploy.routing import websocket_urlpatterns as of_services  # noqa: E402
from runs.ingest import application as runners  # noqa: E402
from runs.routing import websocket_urlpatterns as of_runs  # noqa: E402

RUNNERS = "/runner/v1/"
django: Application = with_body_limit(whole_django)
SCORE = re.compile(r"/api/v1/teams/[^/]+/services/[^/]+/score/?")


async def refuse(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Answer a websocket that nobody expects; closed before it is accepted, that is a 403."""
    await receive()
    await send({"type": "websocket.close"})


watchers = AuthMiddlewareStack(
    URLRouter(cast("Any", [*of_runs, *of_services, re_path("", cast("Any", refuse))]))
)
browsers = AllowedHostsOriginValidator(watchers)


def _watchers_for(scope: Scope) -> Application:
    """Check the origin of what may be a browser; a program sends a token and has no origin."""
    headers = {name for name, _ in scope["headers"]}
    is_program = b"authorization" in headers and not headers & {b"origin", b"cookie"}
    return cast("Application", watchers if is_program else browsers)


def runners_alone(whole: Application, doors: Collection[str]) -> Application:
    """Give an application that answers runners, and nobody else, on some of our addresses."""

    async def guarded(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["server"][0] not in doors:
            await whole(scope, receive, send)
        elif scope["type"] == "websocket":
            await refuse(scope, receive, send)
        elif scope["path"].startswith(RUNNERS):
            await runners(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body"})

    return guarded


async def application(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    await _application_for(scope)(scope, receive, send)


def _application_for(scope: Scope) -> Application:
    if scope["type"] == "websocket":
        return _watchers_for(scope)
    path = scope["path"]
    if path.startswith(RUNNERS):
        return runners
    if path.startswith("/serve/") or SCORE.fullmatch(path):
        return gateway
    if path == METRICS:
        return metrics
    return django
