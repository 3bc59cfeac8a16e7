"""The kind local: processes of this machine, in virtual environments.

In: plans. Out: runner processes, found again by their folders.
Imports: builds and what is below; no other kind, no engine.
"""
