"""The seam to machines: one contract for every kind of compute target.

In: plans of process groups and specifications. Out: processes, their states, logs and outputs.
Imports: runner and platform; no Django model. Kinds never import each other.
"""
