"""The addresses of the pages of a new run."""

from django.urls import path

from runs import views_new

app_name = "new_run"

urlpatterns = [
    path("t/<slug:slug>/runs/new/", views_new.new_run, name="page"),
    path("t/<slug:slug>/runs/new/archive/", views_new.upload_archive, name="archive"),
    path("t/<slug:slug>/runs/new/preview/", views_new.preview_run, name="preview"),
]
