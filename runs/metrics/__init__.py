"""Metrics and usage: what a program logged, read from its files, thinned for charts.

In: event files, JSON lines and usage samples. Out: series of points.
Imports: files, logs and the core of runs.
"""
