"""How fast Trainyard is, beside the floor or a peer measured in the same run."""
