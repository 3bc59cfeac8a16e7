"""The REST API of services.

In: JSON requests. Out: JSON responses, and calls of the services of deploy.
Imports: rollout, traffic, contract and the core of deploy.
"""
