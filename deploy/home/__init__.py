"""The first page of a team: its runs, services and capacity now, and what needs attention.

In: requests of browsers. Out: HTML.
Imports: the selectors of deploy, runs and workspace; everything is looked up through the team.
"""
