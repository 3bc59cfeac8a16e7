"""Which revisions run and which get requests: traffic split, rollback, autoscaling.

In: how all revisions of a service stand. Out: weights, numbers of replicas, rollbacks.
Imports: traffic and the core of deploy.
"""
