"""Environments as images: base images, layers, build containers, pruning.

In: specifications. Out: images on an engine or in a registry.
Imports: engine, builds and what is below; no kind.
"""
