"""The wiring of the server: settings, addresses, the ASGI application, the API and its health.

In: environment variables and requests. Out: nothing that others import.
Imports: every app, which its settings, urls and api name; nothing outside imports config.
"""
