"""The Promise Bench: the optimizer against public outcomes that nobody here made. Needs the extra `bench`."""
