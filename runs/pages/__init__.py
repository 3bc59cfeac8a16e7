"""The pages of runs and of the queues of compute targets.

In: requests of browsers. Out: HTML, and calls of the services of runs.
Imports: every room of runs but api and live.
"""
