"""Audit before install: what an export of calls says about spend, and what could be proven to be saved. Reads files, sends nothing."""
