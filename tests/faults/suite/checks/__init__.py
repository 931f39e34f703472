"""All checks; importing them enters them into the table."""

from tests.faults.suite.checks import (
    bulk,
    callers,
    clients,
    hostile,
    load,
    naming,
    replicas,
    retries,
    shapes,
    soaking,
    streams,
)

__all__ = [
    "bulk",
    "callers",
    "clients",
    "hostile",
    "load",
    "naming",
    "replicas",
    "retries",
    "shapes",
    "soaking",
    "streams",
]
