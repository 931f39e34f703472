"""How the ledger's calls were walked: under which checks, with which effort, and what they wrote on which deployment."""

import sqlite3
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from fw_gateway.ledger.port import LedgerError
from fw_policies.lock import cell


@dataclass(frozen=True, slots=True)
class Walk:
    """One call, as it was planned and as it went."""

    started: float
    """Seconds since the epoch."""
    models: tuple[str, ...]
    """Of its plan, in the order they are tried, each once."""
    verify: tuple[str, ...]
    effort: str | None
    tokens: Mapping[str, int | None]
    """Deployment -> output tokens that it wrote for the call; None: it did not say."""
    beside: str = ""
    """The decision of the call that this one was asked beside; empty: it is a client's."""


_WALKS = """
    SELECT decision_id, started_ns, plan, attempts, shadow_of FROM calls
    WHERE started_ns >= ? AND operation = 'chat' AND plan IS NOT NULL AND attempts != '[]'
"""


def walks(path: Path, since_ns: int) -> dict[str, Walk]:
    """Decision -> how it was walked, for every call since then (nanoseconds since the epoch), pinned ones too.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    try:
        with closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as connection:
            connection.execute("PRAGMA query_only=1")
            rows = connection.execute(_WALKS, (since_ns,)).fetchall()
            plans = {
                digest: orjson.loads(zlib.decompress(body))
                for digest, body in connection.execute("SELECT digest, body FROM plans")
            }
    except sqlite3.Error as fault:
        raise LedgerError(f"The ledger {path} cannot be read: {fault}.") from fault
    planned = {digest: _planned(body) for digest, body in plans.items()}
    return {
        decision: Walk(started / 1e9, *planned[plan], _tokens(orjson.loads(attempts)), beside or "")
        for decision, started, plan, attempts, beside in rows
        if plan in planned
    }


NEWEST = 20_000
"""Calls that are looked at for coverage: a page must not wait for all of a year."""
_LIKE = """
    SELECT c.input_tokens, c.labels, count(*)
    FROM (SELECT * FROM calls ORDER BY decision_id DESC LIMIT ?) c JOIN plans p ON p.digest = c.plan
    WHERE p.policy = ? AND c.step = ? AND c.started_ns >= ? AND c.attempts != '[]' AND c.shadow_of IS NULL
    GROUP BY c.input_tokens, c.labels
"""


def like(connection: sqlite3.Connection, step: tuple[str, str], since_ns: int, labels: Sequence[str]) -> Counter[str]:
    """What the newest calls of (policy, step) since then were like: `cell` -> calls. `labels`: names of those that count."""
    found: Counter[str] = Counter()
    for size, held, count in connection.execute(_LIKE, (NEWEST, *step, since_ns)):
        pairs = ((str(name), str(value)) for name, value in orjson.loads(held).items())
        found[cell(size, pairs, labels)] += count
    return found


def _planned(body: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...], str | None]:
    models = dict.fromkeys(body["all"][number]["model"] for number in body["targets"])
    return tuple(models), tuple(body.get("verify", ())), body.get("effort")


def _tokens(attempts: list[Mapping[str, Any]]) -> dict[str, int | None]:
    """A failed attempt that reported nothing wrote nothing that anybody knows of; one that answered and said nothing is unknown."""
    found: dict[str, int | None] = {}
    for one in attempts:
        written = one.get("output_tokens")
        if written is None and one.get("error_type"):
            continue
        known = found.get(one["deployment"], 0)
        found[one["deployment"]] = None if written is None or known is None else known + written
    return found
