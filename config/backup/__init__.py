"""Backup and restore of an installation, with their management commands.

In: the database and TRAINYARD_HOME. Out: one archive, and an installation made from it.
Imports: Django and its model registry only.
"""
