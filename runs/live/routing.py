"""The websocket addresses of runs."""

from django.urls import re_path

from runs.live.consumers import watch_run

websocket_urlpatterns = [
    re_path(
        r"^ws/teams/(?P<slug>[-a-z0-9]+)/runs/(?P<number>[0-9]{1,9})/$",
        watch_run,  # type: ignore[arg-type]  # an ASGI application, which Channels routes to
    ),
]
