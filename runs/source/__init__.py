"""Source directories: uploads and archives become snapshots over content-addressed blobs.

In: uploaded files and archives. Out: snapshots, manifests and tars.
Imports: the core of runs.
"""
