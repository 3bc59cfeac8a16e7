"""The web process: who answers which address.

Runners and scoring clients are many and quick, so their addresses go past Django's middleware.
"""

import os
import re
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any, cast

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import re_path
from django.utils.module_loading import import_string

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

Scope = dict[str, Any]
Application = Callable[[Scope, Callable[..., Any], Callable[..., Any]], Awaitable[None]]

django: Application = get_asgi_application()
SCORE = re.compile(r"/api/v1/teams/[^/]+/services/[^/]+/score/?")


def _part(module: str, name: str, otherwise: Any) -> Any:
    return import_string(f"{module}.{name}") if find_spec(module) else otherwise


runners: Application = _part("runs.ingest", "application", django)
gateway: Application = _part("deploy.gateway", "application", django)


async def refuse(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Answer a websocket that nobody expects; closed before it is accepted, that is a 403."""
    await receive()
    await send({"type": "websocket.close"})


websockets = AllowedHostsOriginValidator(
    AuthMiddlewareStack(
        URLRouter(
            [
                *_part("runs.routing", "websocket_urlpatterns", []),
                cast("Any", re_path("", cast("Any", refuse))),
            ]
        )
    )
)


async def application(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    await _application_for(scope)(scope, receive, send)


def _application_for(scope: Scope) -> Application:
    if scope["type"] == "websocket":
        return cast("Application", websockets)
    path = scope["path"]
    if path.startswith("/runner/v1/"):
        return runners
    if path.startswith("/serve/") or SCORE.fullmatch(path):
        return gateway
    return django
