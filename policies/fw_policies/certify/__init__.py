"""What may be promised: bounds that hold, tests in a fixed order, certificates that name their data. Needs numpy."""
