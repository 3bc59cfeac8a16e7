"""Runs: their models, states, events and configuration; submitting and canceling them.

In: configurations and snapshots. Out: runs that the supervisor takes to their end.
Imports: workspace, and runner in launch; here only services and urls import packages of runs.
"""
