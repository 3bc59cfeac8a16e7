"""What is known to go wrong before anything starts, from a program's text and packages.

In: a snapshot and a configuration. Out: findings, as errors and warnings.
Imports: its own modules, and `workspace.compute.requirements`, which reads lines.
"""
