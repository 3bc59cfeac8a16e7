"""The websockets: what happens to a run reaches its open pages.

In: nudges, and a browser's cursors. Out: messages with what is new in storage.
Imports: logs, metrics and the core of runs; never pages or api.
"""
