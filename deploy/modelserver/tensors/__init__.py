"""Tensors from JSON and protobuf, and back.

In: JSON text or TensorProtos. Out: NumPy arrays; and the other way round.
Imports: memory and errors.
"""
