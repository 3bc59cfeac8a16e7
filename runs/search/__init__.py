"""MLflow's search grammar: filters and orders, read and turned into queries of runs.

In: texts that people and clients write. Out: parsed clauses, and querysets.
Imports: the core of runs.
"""
