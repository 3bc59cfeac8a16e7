"""The kind docker: containers on one Docker Engine.

In: plans. Out: containers, found again by their labels.
Imports: images, engine and what is below; no other kind.
"""
