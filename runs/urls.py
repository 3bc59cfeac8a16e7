"""The addresses of the pages of runs."""

from django.urls import path

from runs.pages import comparison, experiments, run_changes, run_list, runs, targets

app_name = "runs"

RUNS = "t/<slug:slug>/runs/"
RUN = f"{RUNS}<int:number>/"
EXPERIMENTS = "t/<slug:slug>/experiments/"
TARGET = "t/<slug:slug>/targets/<slug:name>/"

urlpatterns = [
    path(RUNS, run_list.run_list, name="list"),
    path(f"{RUNS}many/", run_changes.change_many, name="change_many"),
    path(f"{RUNS}compare/", comparison.compare, name="compare"),
    path(RUN, runs.run_logs, name="logs"),
    path(f"{RUN}metrics/", runs.run_metrics, name="metrics"),
    path(f"{RUN}usage/", runs.run_usage, name="usage"),
    path(f"{RUN}outputs/", runs.run_outputs, name="outputs"),
    path(f"{RUN}configuration/", runs.run_configuration, name="configuration"),
    path(f"{RUN}code/", runs.run_code, name="code"),
    path(f"{RUN}children/", runs.run_children, name="children"),
    path(f"{RUN}timeline/", runs.run_timeline, name="timeline"),
    path(f"{RUN}head/", runs.run_head, name="head"),
    path(f"{RUN}idle/", runs.run_idle, name="idle"),
    path(f"{RUN}cancel/", runs.cancel, name="cancel"),
    path(f"{RUN}change/", run_changes.change, name="change"),
    path(f"{RUN}archive/", run_changes.archive, name="archive"),
    path(f"{RUN}delete/", run_changes.delete, name="delete"),
    path(EXPERIMENTS, experiments.experiment_list, name="experiments"),
    path(f"{EXPERIMENTS}<int:pk>/", experiments.experiment, name="experiment"),
    path(f"{EXPERIMENTS}<int:pk>/change/", experiments.change, name="change_experiment"),
    path(TARGET, targets.target, name="target"),
    path(f"{TARGET}live/", targets.target_live, name="target_live"),
    path(f"{TARGET}queue/<int:pk>/move/", targets.queue_move, name="queue_move"),
]
