"""The gRPC services of the model server: prediction, model status, health.

In: messages of TensorFlow Serving's protocol. Out: its messages and status codes.
Imports: loading, examples, signatures, tensors and what is below; never http.
"""
