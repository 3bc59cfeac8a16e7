"""The addresses of the pages of the registry."""

from django.urls import path

from models import views, views_bringing, views_changes

app_name = "models"

MODELS = "t/<slug:slug>/models/"
MODEL = f"{MODELS}<str:name>/"
VERSION = f"{MODEL}versions/<int:number>/"

urlpatterns = [
    path(MODELS, views.model_list, name="list"),
    path(f"{MODELS}register/", views_bringing.register, name="register"),
    path("t/<slug:slug>/model-imports/<int:number>/", views_bringing.model_import, name="import"),
    path(MODEL, views.model, name="model"),
    path(f"{MODEL}compare/", views.comparison, name="compare"),
    path(f"{MODEL}delete/", views_changes.delete_model, name="delete_model"),
    path(f"{MODEL}aliases/<str:alias>/remove/", views_changes.remove_alias, name="remove_alias"),
    path(VERSION, views.version, name="version"),
    path(f"{VERSION}change/", views_changes.change, name="change"),
    path(f"{VERSION}alias/", views_changes.add_alias, name="add_alias"),
    path(f"{VERSION}convert/", views_changes.convert, name="convert"),
    path(f"{VERSION}onnx/", views.onnx, name="onnx"),
    path(f"{VERSION}delete/", views_changes.delete_version, name="delete_version"),
]
