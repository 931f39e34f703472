"""What was observed, turned into estimates with intervals."""
