"""A policy from a mapping: parsed, checked with near-name suggestions, printed; what is printed parses back to the same policy."""

from fw_policies.spec.check import check
from fw_policies.spec.model import Case, Condition, Explore, Policy, Quality, Rules
from fw_policies.spec.parse import parse
from fw_policies.spec.problems import PolicyError, Problem
from fw_policies.spec.show import show

__all__ = [
    "Case",
    "Condition",
    "Explore",
    "Policy",
    "PolicyError",
    "Problem",
    "Quality",
    "Rules",
    "check",
    "parse",
    "show",
]
