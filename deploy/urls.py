"""The addresses of the pages of services."""

from django.urls import path

from deploy import (
    views,
    views_changes,
    views_drift,
    views_revisions,
    views_settings,
    views_traffic,
)

app_name = "deploy"

SERVICES = "t/<slug:slug>/services/"
SERVICE = f"{SERVICES}<slug:name>/"

urlpatterns = [
    path(SERVICES, views.service_list, name="list"),
    path(f"{SERVICES}-/new/", views_changes.new, name="new"),
    path(f"{SERVICES}-/quick/", views_changes.quick, name="quick"),
    path(SERVICE, views.service, name="service"),
    path(f"{SERVICE}head/", views.service_head, name="head"),
    path(f"{SERVICE}traffic/", views_traffic.traffic, name="traffic"),
    path(f"{SERVICE}traffic/totals/", views_traffic.traffic_totals, name="traffic_totals"),
    path(f"{SERVICE}requests/", views_traffic.requests, name="requests"),
    path(f"{SERVICE}requests/clear/", views_traffic.clear_requests, name="clear_requests"),
    path(f"{SERVICE}drift/", views_drift.drift, name="drift"),
    path(f"{SERVICE}drift/baseline/", views_drift.set_baseline, name="set_baseline"),
    path(f"{SERVICE}drift/clear/", views_drift.clear_baseline, name="clear_baseline"),
    path(f"{SERVICE}logs/", views.service_logs, name="logs"),
    path(f"{SERVICE}history/", views_revisions.history, name="history"),
    path(f"{SERVICE}settings/", views_settings.settings, name="settings"),
    path(f"{SERVICE}settings/<slug:part>/", views_settings.change_part, name="change_part"),
    path(f"{SERVICE}history/rollback/", views_revisions.roll_back, name="roll_back"),
    path(f"{SERVICE}history/share/", views_revisions.share, name="share"),
    path(f"{SERVICE}history/shadow/", views_revisions.shadow, name="shadow"),
    path(f"{SERVICE}try/", views.try_it, name="try"),
    path(f"{SERVICE}keys/<slug:slot>/", views_changes.regenerate, name="regenerate"),
    path(f"{SERVICE}keys/<slug:slot>/limit/", views_settings.limit_key, name="limit_key"),
    path(f"{SERVICE}switch/", views_changes.switch, name="switch"),
    path(f"{SERVICE}start/", views_changes.start, name="start"),
    path(f"{SERVICE}stop/", views_changes.stop, name="stop"),
    path(f"{SERVICE}delete/", views_changes.delete, name="delete"),
]
