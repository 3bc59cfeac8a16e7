"""The addresses of the pages of the registry."""

from django.urls import path

from models.mlflow.endpoints import addresses
from models.pages import changes, registration, registry

app_name = "models"

MODELS = "t/<slug:slug>/models/"
MODEL = f"{MODELS}<str:name>/"
VERSION = f"{MODEL}versions/<int:number>/"

urlpatterns = [
    path(MODELS, registry.model_list, name="list"),
    path(f"{MODELS}register/", registration.register, name="register"),
    path("t/<slug:slug>/model-imports/<int:number>/", registration.model_import, name="import"),
    path(MODEL, registry.model, name="model"),
    path(f"{MODEL}compare/", registry.comparison, name="compare"),
    path(f"{MODEL}delete/", changes.delete_model, name="delete_model"),
    path(f"{MODEL}aliases/<str:alias>/remove/", changes.remove_alias, name="remove_alias"),
    path(VERSION, registry.version, name="version"),
    path(f"{VERSION}change/", changes.change, name="change"),
    path(f"{VERSION}alias/", changes.add_alias, name="add_alias"),
    path(f"{VERSION}convert/", changes.convert, name="convert"),
    path(f"{VERSION}onnx/", registry.onnx, name="onnx"),
    path(f"{VERSION}delete/", changes.delete_version, name="delete_version"),
    *addresses(),
]
