"""Logs in storage: appended by byte offset, indexed by line, merged across processes.

In: chunks at an offset. Out: text from an offset, lines found, merged lines.
Imports: the core of runs.
"""
