"""What is started for a run: processes, TF_CONFIG, MPI keys, environment, tokens.

In: a run's configuration and addresses. Out: a plan of processes for a backend.
Imports: source, preflight and core of runs; workspace up to environments; runner.
"""
