"""Services: models that are served, with their revisions, keys and settings.

In: what a team deploys and changes. Out: services that the supervisor and the gateway act on.
Imports: models, runs and workspace; services, selectors and config import no package of deploy.
"""
