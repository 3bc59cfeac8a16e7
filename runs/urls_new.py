"""The addresses of the pages of a new run."""

from django.urls import path

from runs.pages import new_run

app_name = "new_run"

urlpatterns = [
    path("t/<slug:slug>/runs/new/", new_run.new_run, name="page"),
    path("t/<slug:slug>/runs/new/archive/", new_run.upload_archive, name="archive"),
    path("t/<slug:slug>/runs/new/preview/", new_run.preview_run, name="preview"),
]
