"""MLflow's tracking protocol: unmodified clients log runs of a team and read them.

In: HTTP calls of MLflow's clients. Out: JSON in MLflow's form, and artifacts.
Imports: runs and workspace; never pages and api.
"""
