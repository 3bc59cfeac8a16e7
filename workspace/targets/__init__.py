"""Compute targets: rules, states, reachability, connection test, limits, pages, API.

In: what admins set up, and what targets answer. Out: targets that a team may use, and backends.
Imports: accounts, audit, models, compute and platform; not environments.
"""
