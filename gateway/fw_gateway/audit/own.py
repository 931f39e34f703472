"""Our own ledger: the SQLite file in FW_STATE_DIR, opened read-only."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from fw_gateway.audit.rows import ANY, CallRow, Row, Score

NAME = "fw ledger"
MAGIC = b"SQLite format 3\x00"
_CALLS = """
    SELECT started_ns, run, trace_id, decision_id, agent, step, served_model, model, input_tokens, output_tokens,
           cached_tokens, cost, latency, ttft, status
    FROM calls ORDER BY started_ns
"""
_OUTCOMES = "SELECT scope, scope_id, step, name, value FROM outcomes ORDER BY id"


def read(path: Path) -> Iterator[Row]:
    """Every call, then every outcome; the newest of a name counts.

    Raises:
        sqlite3.Error: it is no ledger of ours, or cannot be read.
    """
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        yield from _calls(connection)
        for scope, scope_id, step, name, value in connection.execute(_OUTCOMES):
            run, call = (scope_id, "") if scope == "run" else ("", scope_id)
            yield Score(run, call, name, float(value), step or "")
    finally:
        connection.close()


def _calls(connection: sqlite3.Connection) -> Iterator[Row]:
    for row in connection.execute(_CALLS):
        started, run, trace, decision, agent, step, served, asked = row[:8]
        incoming, outgoing, cached, cost, latency, ttft, status = row[8:]
        yield CallRow(
            time=started / 1e9,
            run=run or trace or decision,
            call=decision,
            agent=agent,
            step=step or ANY,
            model=served or asked,
            provider="",
            input_tokens=incoming,
            output_tokens=outgoing,
            cached_tokens=cached,
            cost=cost,
            latency=latency,
            ttft=ttft,
            ok=status < 400,
        )
