"""Secrets of a team: named values that runs get and nobody reads again.

In: names and values from admins. Out: names for pages, values for the start of a run.
Imports: accounts, audit, models and platform of workspace.
"""
