"""What a SavedModel is, read without TensorFlow: signatures, variables, operations.

In: the files of a SavedModel. Out: TensorFlow's version, signatures, findings.
Imports: workspace.platform; no other package of models.
"""
