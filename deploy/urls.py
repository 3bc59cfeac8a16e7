"""The addresses of a team's home and of the pages of services."""

from django.urls import path

from deploy.home.pages import home
from deploy.pages import (
    changes,
    drift,
    revisions,
    service,
    settings,
    storage,
    traffic,
)

app_name = "deploy"

SERVICES = "t/<slug:slug>/services/"
SERVICE = f"{SERVICES}<slug:name>/"

urlpatterns = [
    path("t/<slug:slug>/storage/", storage.storage, name="storage"),
    path("t/<slug:slug>/storage/measure/", storage.measure, name="measure_storage"),
    path("t/<slug:slug>/", home, name="home"),
    path(SERVICES, service.service_list, name="list"),
    path(f"{SERVICES}-/new/", changes.new, name="new"),
    path(f"{SERVICES}-/quick/", changes.quick, name="quick"),
    path(SERVICE, service.service, name="service"),
    path(f"{SERVICE}head/", service.service_head, name="head"),
    path(f"{SERVICE}traffic/", traffic.traffic, name="traffic"),
    path(f"{SERVICE}traffic/totals/", traffic.traffic_totals, name="traffic_totals"),
    path(f"{SERVICE}requests/", traffic.requests, name="requests"),
    path(f"{SERVICE}requests/clear/", traffic.clear_requests, name="clear_requests"),
    path(f"{SERVICE}drift/", drift.drift, name="drift"),
    path(f"{SERVICE}drift/baseline/", drift.set_baseline, name="set_baseline"),
    path(f"{SERVICE}drift/clear/", drift.clear_baseline, name="clear_baseline"),
    path(f"{SERVICE}logs/", service.service_logs, name="logs"),
    path(f"{SERVICE}history/", revisions.history, name="history"),
    path(f"{SERVICE}settings/", settings.settings, name="settings"),
    path(f"{SERVICE}settings/<slug:part>/", settings.change_section, name="change_section"),
    path(f"{SERVICE}history/rollback/", revisions.roll_back, name="roll_back"),
    path(f"{SERVICE}history/share/", revisions.split, name="share"),
    path(f"{SERVICE}history/shadow/", revisions.shadow, name="shadow"),
    path(f"{SERVICE}try/", service.try_it, name="try"),
    path(f"{SERVICE}keys/<slug:slot>/", changes.regenerate, name="regenerate"),
    path(f"{SERVICE}keys/<slug:slot>/limit/", settings.limit_key, name="limit_key"),
    path(f"{SERVICE}switch/", changes.switch, name="switch"),
    path(f"{SERVICE}start/", changes.start, name="start"),
    path(f"{SERVICE}stop/", changes.stop, name="stop"),
    path(f"{SERVICE}delete/", changes.delete, name="delete"),
]
