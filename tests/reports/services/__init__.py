"""Reports on services, shown by the small stand-in for a model server."""
