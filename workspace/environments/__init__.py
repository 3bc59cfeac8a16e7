"""Environments: curated versions, builds by workers, pruning, pages and API.

In: specifications. Out: built environments, their logs and references.
Imports: targets, accounts, audit, models, compute and platform.
"""
