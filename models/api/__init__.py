"""The REST API of the registry.

In: JSON requests and uploads. Out: JSON responses and downloads.
Imports: imports, savedmodel and the core of models; never pages.
"""
