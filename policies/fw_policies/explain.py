"""EXPLAIN and EXPLAIN ANALYZE: a plan as plain mappings, and the same object as text for people. What is unknown says so."""

from fw_policies.explaining.numbers import interval, money, seconds
from fw_policies.explaining.plans import mapping
from fw_policies.explaining.runs import run_mapping, run_text
from fw_policies.explaining.text import text

__all__ = ["interval", "mapping", "money", "run_mapping", "run_text", "seconds", "text"]
