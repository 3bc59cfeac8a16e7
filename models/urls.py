"""The addresses of the pages of the registry."""

from django.urls import path

from models import views

app_name = "models"

MODELS = "t/<slug:slug>/models/"
MODEL = f"{MODELS}<str:name>/"

urlpatterns = [
    path(MODELS, views.model_list, name="list"),
    path(f"{MODELS}register/", views.register, name="register"),
    path(MODEL, views.model, name="model"),
    path(f"{MODEL}versions/<int:number>/", views.version, name="version"),
]
