"""Scoring: a request of a caller finds its replica, by REST or gRPC.

In: requests with their secrets. Out: the model server's responses, and counts of them.
Imports: rollout, traffic and the core of deploy; never supervision.
"""
