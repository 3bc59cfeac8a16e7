"""The pages of the registry.

In: requests of browsers. Out: HTML, and calls of the services of models.
Imports: imports, savedmodel and the core of models; never api.
"""
