"""Every address of the web process that Django answers."""

from django.urls import URLPattern, URLResolver, include, path

from config.api import api
from config.health import health, system

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/health", health, name="health"),
    path("api/v1/", api.urls),
    path("system/", system, name="system"),
    path("", include("workspace.urls")),
    path("", include("runs.urls_new")),
    path("", include("runs.urls")),
    path("", include("models.urls")),
    path("", include("deploy.urls")),
]

handler404 = "workspace.platform.responses.not_found"
