"""The addresses of the product with those of a new run."""

from django.urls import URLPattern, URLResolver, include, path

from config import urls

urlpatterns: list[URLPattern | URLResolver] = [
    *urls.urlpatterns,
    path("", include("runs.urls_new")),
]
handler404 = urls.handler404
