"""The endpoints that runners call: their source, reports, logs, files and checkpoints.

In: requests with a process's token. Out: stored logs and files, and what a runner is to do.
Imports: launch, metrics, files, logs, source and the core of runs; never supervision.
"""
