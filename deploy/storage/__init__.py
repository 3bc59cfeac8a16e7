"""What uses the server's disk, and which runs go to free it: by hand, by age and by size.

In: the files of runs and services, and a team's rules. Out: a report of bytes, and deleted runs.
Imports: models and runs.
"""
