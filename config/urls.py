"""Every address of the web process that Django answers."""

from importlib.util import find_spec

from django.urls import URLPattern, URLResolver, include, path

from config.api import api
from config.health import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/health", health, name="health"),
    path("api/v1/", api.urls),
    *(
        path("", include(module))
        for module in (
            "workspace.urls",
            "runs.urls_new",
            "runs.urls",
            "models.urls",
            "deploy.urls",
        )
        if find_spec(module)
    ),
]

handler404 = "workspace.views_trouble.not_found"
