"""Requests that wait a moment for each other and run as one batch.

In: inputs of many requests. Out: each request's part of the outputs.
Imports: tensors, monitoring and errors.
"""
