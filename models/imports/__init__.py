"""Jobs that convert: a Keras file to a SavedModel, a version to ONNX, each in a sandbox.

In: uploaded files and versions. Out: versions and ONNX files, or why there is none.
Imports: savedmodel and the core of models; `programs/` run in the sandbox and import nothing here.
"""
