"""What building an environment shares, whatever the kind: log, contents, Horovod, model server.

In: what a build prints and what it made. Out: log lines, package lists, sources to put in.
Imports: nothing of Trainyard.
"""
