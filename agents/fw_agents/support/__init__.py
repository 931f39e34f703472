"""A support desk: triage → investigate → reply on one case, each step with its own policy."""
