"""The kind swarm: services of a Docker Swarm, placed on its nodes.

In: plans with nodes chosen by the queue. Out: swarm services, found again by their labels.
Imports: images, engine and what is below; no other kind.
"""
