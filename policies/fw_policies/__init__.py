"""What an agent's step needs, and the plan that meets it: pure values and functions, no I/O, no clock, no dice."""
