"""The pages of services: list, new service, traffic, requests, drift, revisions, settings.

In: requests of browsers. Out: HTML, and calls of the services of deploy.
Imports: every package of deploy but api, supervision and modelserver.
"""
