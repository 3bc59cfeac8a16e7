"""Models on disk become versions that answer: found, checked, loaded, warmed up, unloaded.

In: folders of models and a model config. Out: loaded versions and their states.
Imports: signatures, batching, tensors and what is below.
"""
