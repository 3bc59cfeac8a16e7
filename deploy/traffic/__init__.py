"""What the gateway saw: counters, request log, rate limits, drift.

In: finished requests. Out: rows, and series and comparisons of them.
Imports: the core of deploy; never contract.
"""
