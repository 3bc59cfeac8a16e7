"""What a team shares: its rows, and the audit log of who changed what.

In: what members do. Out: teams, members, tokens, compute targets and environments.
Imports: runner; the rows here import only compute and platform.
"""
