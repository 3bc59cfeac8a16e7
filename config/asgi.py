"""The web process: who answers which address.

Runners and scoring clients are many and quick, so their addresses go past Django's middleware.
"""

import os
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any, cast

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.urls import re_path

from config.django_handler import get_application
from runner.constants import URL_PREFIX as RUNNERS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

Scope = dict[str, Any]
Application = Callable[[Scope, Callable[..., Any], Callable[..., Any]], Awaitable[None]]

whole_django = get_application()

from config.body_limit import with_body_limit  # noqa: E402 - after Django is set up
from config.websocket_origin import has_own_origin  # noqa: E402
from deploy.gateway.application import application as gateway  # noqa: E402
from deploy.gateway.prometheus import PATH as METRICS  # noqa: E402
from deploy.gateway.prometheus import application as metrics  # noqa: E402
from deploy.routing import websocket_urlpatterns as service_websockets  # noqa: E402
from runs.ingest.app import application as runner_endpoints  # noqa: E402
from runs.live.routing import websocket_urlpatterns as run_websockets  # noqa: E402

django: Application = with_body_limit(whole_django)
SCORE = re.compile(r"/api/v1/teams/[^/]+/services/[^/]+/score/?")


async def reject_websocket(
    scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """Answer a websocket that nobody expects; closed before it is accepted, that is a 403."""
    await receive()
    await send({"type": "websocket.close"})


websockets = AuthMiddlewareStack(
    URLRouter(
        cast(
            "Any",
            [*run_websockets, *service_websockets, re_path("", cast("Any", reject_websocket))],
        )
    )
)


def _websockets_for(scope: Scope) -> Application:
    """Check the origin of what may be a browser; a program sends a token and has no origin."""
    headers = {name for name, _ in scope["headers"]}
    is_program = b"authorization" in headers and not headers & {b"origin", b"cookie"}
    is_welcome = is_program or has_own_origin(scope)
    return cast("Application", websockets if is_welcome else reject_websocket)


def runner_endpoints_only(whole: Application, hosts: Collection[str]) -> Application:
    """Return an application that answers runners, and nobody else, on some of our addresses."""

    async def guarded(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["server"][0] not in hosts:
            await whole(scope, receive, send)
        elif scope["type"] == "websocket":
            await reject_websocket(scope, receive, send)
        elif scope["path"].startswith(RUNNERS):
            await runner_endpoints(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body"})

    return guarded


async def application(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    await _application_for(scope)(scope, receive, send)


def _application_for(scope: Scope) -> Application:
    if scope["type"] == "websocket":
        return _websockets_for(scope)
    path = scope["path"]
    if path.startswith(RUNNERS):
        return runner_endpoints
    if path.startswith("/serve/") or SCORE.fullmatch(path):
        return gateway
    if path == METRICS:
        return metrics
    return django
