"""The pieces of EXPLAIN: numbers, plans, runs, text."""
