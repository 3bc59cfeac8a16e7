"""The REST API of the model server, and the HTTP/1.1 connections that it listens on.

In: bytes of requests. Out: bytes of responses, as TensorFlow Serving writes them.
Imports: loading, examples, signatures, tensors and what is below; never grpc.
"""
