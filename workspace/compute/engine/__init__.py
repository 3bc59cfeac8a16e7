"""A Docker Engine, for every kind that has one: client, discovery, identity, tests, jobs.

In: addresses and credentials. Out: a client, what the machine is, whether it works.
Imports: builds and what is below; no kind, and not images.
"""
