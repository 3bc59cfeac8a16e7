"""The life of a run: look at its processes, decide, act; hangs, restarts, failures, teardown.

In: runs in the database, processes on their targets. Out: moves of runs, with reasons.
Imports: scheduling, launch and what is below; never ingest.
"""
