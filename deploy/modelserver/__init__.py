"""A model server for SavedModels of any TensorFlow 2, with TensorFlow Serving's interface.

In: SavedModels, and REST and gRPC requests. Out: predictions and metrics.
Imports: itself, TensorFlow and gRPC; nothing of Trainyard and no Django.
"""
