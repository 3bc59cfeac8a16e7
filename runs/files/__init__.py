"""Files of runs: outputs, checkpoints, downloads, and what a later run resumes from.

In: files that processes wrote. Out: listings, single files and archives.
Imports: logs, source and the core of runs.
"""
