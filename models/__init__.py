"""The registry: models and their versions, aliases, tags and descriptions.

In: outputs of runs, folders, archives and Keras files. Out: versions with manifests and metadata.
Imports: runs and workspace; deploy only through Django's relation version.revisions.
"""
