"""The REST API of runs, uploads, logs, metrics and files.

In: JSON requests and uploads. Out: JSON responses and downloads.
Imports: every room of runs but pages and live.
"""
