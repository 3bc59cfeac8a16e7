"""The addresses of the pages of runs."""

from django.urls import path

from runs import views, views_targets

app_name = "runs"

RUNS = "t/<slug:slug>/runs/"
RUN = f"{RUNS}<int:number>/"
TARGET = "t/<slug:slug>/targets/<slug:name>/"

urlpatterns = [
    path(RUNS, views.run_list, name="list"),
    path(RUN, views.run_logs, name="logs"),
    path(f"{RUN}metrics/", views.run_metrics, name="metrics"),
    path(f"{RUN}usage/", views.run_usage, name="usage"),
    path(f"{RUN}outputs/", views.run_outputs, name="outputs"),
    path(f"{RUN}configuration/", views.run_configuration, name="configuration"),
    path(f"{RUN}code/", views.run_code, name="code"),
    path(f"{RUN}timeline/", views.run_timeline, name="timeline"),
    path(f"{RUN}head/", views.run_head, name="head"),
    path(f"{RUN}cancel/", views.cancel, name="cancel"),
    path(TARGET, views_targets.target, name="target"),
    path(f"{TARGET}live/", views_targets.target_live, name="target_live"),
    path(f"{TARGET}queue/<int:pk>/move/", views_targets.queue_move, name="queue_move"),
]
