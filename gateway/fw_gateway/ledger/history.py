"""The ledger read as a log to learn from: which model each call was given, with which probability, at what cost, and what came of it."""

import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from fw_gateway.ledger.port import LedgerError, Trust


@dataclass(frozen=True, slots=True)
class Past:
    """One call that a policy decided and that was sent."""

    decision_id: str
    agent: str
    step: str
    run: str
    task: str
    attempt: int
    labels: tuple[tuple[str, str], ...]
    policy: str
    version: str
    """The policy's digest."""
    model: str
    """The first that was tried: what was drawn, whatever fell back after it."""
    propensity: float | None
    """Probability with which its plan was drawn."""
    cost: int | None
    """Nano-USD over all attempts; None: unknown."""
    latency: float
    """Seconds."""
    input_tokens: int | None
    ok: bool
    """Whether the client got an answer."""
    outcomes: Mapping[str, float] = field(default_factory=dict)
    """Of the call itself, or of its run and step: name -> newest value."""
    run_outcomes: Mapping[str, float] = field(default_factory=dict)
    """Of its run as a whole."""
    explored: bool = False
    """What was drawn was not proven."""
    by_text: bool = False
    """Its plan gives each call a model by its text: unless it was explored, nothing was left to chance."""
    text: bytes | None = None
    """What was kept of what it said; see `features`."""


_CALLS = """
    SELECT c.decision_id, c.agent, c.step, c.run, c.task, c.attempt, c.labels, p.policy, p.version, c.propensity,
           c.cost, c.latency, c.input_tokens, c.served_model, c.attempts, c.explored, c.by_text, c.text
    FROM calls c JOIN plans p ON p.digest = c.plan
    WHERE c.started_ns >= ? AND c.operation = 'chat' AND p.policy != '' AND c.attempts != '[]' AND c.shadow_of IS NULL
    ORDER BY c.started_ns, c.decision_id
"""
"""Calls that named their model have no policy and are no decision of ours."""


def calls(path: Path, since_ns: int) -> tuple[Past, ...]:
    """Every call since then (nanoseconds since the epoch), oldest first, with the outcomes that are known by now.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with _reader(path) as connection:
        rows = connection.execute(_CALLS, (since_ns,)).fetchall()
        decisions, runs = _outcomes(connection)
    return tuple(_past(row, decisions, runs) for row in rows)


@contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as connection:
            connection.execute("PRAGMA query_only=1")
            connection.row_factory = sqlite3.Row
            yield connection
    except sqlite3.Error as fault:
        raise LedgerError(f"The ledger {path} cannot be read: {fault}.") from fault


Values = dict[str, float]


def _outcomes(connection: sqlite3.Connection) -> tuple[dict[str, Values], dict[tuple[str, str], Values]]:
    """By decision, and by (run, step); the step is empty for what was said of the whole run. The newest of a name wins."""
    decisions: dict[str, Values] = {}
    runs: dict[tuple[str, str], Values] = {}
    for row in connection.execute("SELECT scope, scope_id, step, name, value FROM outcomes ORDER BY id"):
        if row["scope"] == "decision":
            decisions.setdefault(row["scope_id"], {})[row["name"]] = row["value"]
        else:
            runs.setdefault((row["scope_id"], row["step"]), {})[row["name"]] = row["value"]
    return decisions, runs


def _past(row: sqlite3.Row, decisions: Mapping[str, Values], runs: Mapping[tuple[str, str], Values]) -> Past:
    attempts = orjson.loads(row["attempts"])
    run = row["run"]
    return Past(
        decision_id=row["decision_id"],
        agent=row["agent"],
        step=row["step"],
        run=run,
        task=row["task"],
        attempt=row["attempt"],
        labels=tuple(sorted((str(name), str(value)) for name, value in orjson.loads(row["labels"]).items())),
        policy=row["policy"],
        version=row["version"],
        model=str(attempts[0]["model"]),
        propensity=row["propensity"],
        cost=row["cost"],
        latency=row["latency"],
        input_tokens=row["input_tokens"],
        ok=row["served_model"] != "",
        outcomes={**(runs.get((run, row["step"]), {}) if run else {}), **decisions.get(row["decision_id"], {})},
        run_outcomes=runs.get((run, ""), {}) if run else {},
        explored=bool(row["explored"]),
        by_text=bool(row["by_text"]),
        text=row["text"],
    )


def oldest(path: Path) -> int | None:
    """When the first call began, in nanoseconds since the epoch; None when there is none.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with _reader(path) as connection:
        found = connection.execute("SELECT min(started_ns) FROM calls").fetchone()[0]
    return None if found is None else int(found)


_NEWEST = 20_000
"""Calls that are looked at for trust: a page must not wait for all of a year."""
_TRUST = """
    SELECT count(cost_low) FILTER (WHERE c.cost IS NOT NULL) + count(latency_low),
           coalesce(sum(c.cost BETWEEN p.cost_low AND p.cost_high), 0)
               + coalesce(sum(c.latency BETWEEN p.latency_low AND p.latency_high), 0),
           sum(c.cost) FILTER (WHERE p.estimated_cost IS NOT NULL), sum(p.estimated_cost) FILTER (WHERE c.cost IS NOT NULL),
           sum(c.latency) FILTER (WHERE p.estimated_latency IS NOT NULL), sum(p.estimated_latency)
    FROM (SELECT * FROM calls ORDER BY decision_id DESC LIMIT ?) c JOIN plans p ON p.digest = c.plan
    WHERE p.policy = ? AND c.step = ? AND c.started_ns >= ? AND c.served_model != ''
"""


def trust(connection: sqlite3.Connection, policy: str, step: str, since_ns: int) -> Trust:
    """What became of estimates; a call that was answered by nobody is an error, not an estimate."""
    n, held, cost, planned_cost, took, planned = connection.execute(
        _TRUST, (_NEWEST, policy, step, since_ns)
    ).fetchone()
    return Trust(n, held, _ratio(cost, planned_cost), _ratio(took, planned))


def _ratio(actual: float | None, planned: float | None) -> float | None:
    return actual / planned if actual is not None and planned else None


def voids(path: Path) -> dict[tuple[str, str], str]:
    """(lock, step) -> why and since when its certificate is void, as the gateway last saved it; empty while there is no ledger.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    if not path.exists():
        return {}
    with _reader(path) as connection:
        found = connection.execute("SELECT body FROM statistics WHERE name = 'current'").fetchone()
    saved = {} if found is None else orjson.loads(zlib.decompress(found[0])).get("drift", {})
    return {
        (lock, step): str(text) for key, text in saved.get("void", {}).items() for lock, step in [key.split("\x1f")]
    }
