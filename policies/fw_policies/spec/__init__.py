"""A policy from a mapping: parsed, checked, printed."""
