"""The websocket addresses of services."""

from django.urls import re_path

from deploy.consumers import watch_service

websocket_urlpatterns = [
    re_path(
        r"^ws/teams/(?P<slug>[-a-z0-9]+)/services/(?P<name>[-a-z0-9]+)/$",
        watch_service,  # type: ignore[arg-type]  # an ASGI application, which Channels routes to
    ),
]
