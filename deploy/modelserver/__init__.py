"""Serve SavedModels over TensorFlow Serving's REST protocol, in one Python process."""
