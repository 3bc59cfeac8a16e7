"""The queue: which waiting run starts now, on which nodes, and why another waits.

In: waiting runs, allocations, nodes and quotas. Out: admissions, preemptions and wait reasons.
Imports: launch, for the processes that a run will have, and the core of runs.
"""
