"""State in, state out: how statistics take in what happened."""
