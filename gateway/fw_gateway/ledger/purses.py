"""What exploring has spent on each day: reserved before it is spent, so that no crash and no second process can overdraw it."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """Nano-USD taken from a purse (or, negative, given back) on a day."""

    purse: str
    day: str
    amount: int


_ADD = """
INSERT INTO purses VALUES (?, ?, max(0, ?)) ON CONFLICT (name, day) DO UPDATE SET spent = max(0, spent + ?)
"""


def add(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Book entries; the caller holds the transaction."""
    connection.executemany(_ADD, [(one.purse, one.day, one.amount, one.amount) for one in entries])


def spent(connection: sqlite3.Connection, purse: str, day: str) -> int:
    """Nano-USD that are gone or reserved."""
    found = connection.execute("SELECT spent FROM purses WHERE name = ? AND day = ?", (purse, day)).fetchone()
    return 0 if found is None else int(found[0])
