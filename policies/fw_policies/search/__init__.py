"""Offline search over steps × plans: estimates shrunk to what can be known, programmes, frontiers. Needs numpy and scipy."""
