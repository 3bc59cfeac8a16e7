"""The life of replicas: launched, checked, tested, replaced, torn down.

In: what the database wants of services. Out: replicas on compute targets, states with reasons.
Imports: rollout, traffic, contract and the core of deploy; never gateway.
"""
