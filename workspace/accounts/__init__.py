"""People and teams: users, passwords, tokens, members, invitations and their pages.

In: log-ins, tokens and what admins change. Out: who a request is of, and what it may do.
Imports: the rows of workspace and platform; not targets or environments.
"""
