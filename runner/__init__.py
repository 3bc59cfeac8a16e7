"""The parent process of every program of a run or service; it goes into containers as one zip file.

In: its settings and the server's answers. Out: a program's logs, files, usage and exit code.
Imports: the standard library alone.
"""
