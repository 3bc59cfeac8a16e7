"""Every address of the web process that Django answers."""

from django.urls import URLPattern, URLResolver, include, path

from config.api import api
from config.health import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/health", health, name="health"),
    path("api/v1/", api.urls),
    path("", include("workspace.urls")),
    path("", include("runs.urls_new")),
    path("", include("runs.urls")),
    path("", include("models.urls")),
    path("", include("deploy.urls")),
]

handler404 = "workspace.views_trouble.not_found"
