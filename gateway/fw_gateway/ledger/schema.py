"""The tables of the SQLite ledger, as numbered migrations. A migration, once released, is never edited: the next one corrects it."""

import sqlite3

from fw_gateway import clock

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE plans (
        digest TEXT PRIMARY KEY,
        policy TEXT NOT NULL,
        version TEXT NOT NULL,
        reason TEXT NOT NULL,
        estimated_cost REAL,             -- nano-USD
        estimated_latency REAL,          -- seconds
        estimated_ttft REAL,             -- seconds
        estimated_quality REAL,          -- 0..1
        estimated_output_tokens REAL,
        body BLOB NOT NULL               -- the whole plan: zlib, JSON
    ) WITHOUT ROWID;
    CREATE TABLE calls (
        decision_id TEXT PRIMARY KEY,
        started_ns INTEGER NOT NULL,     -- since the epoch
        trace_id TEXT NOT NULL,
        span_id TEXT NOT NULL,
        request_id TEXT NOT NULL,
        operation TEXT NOT NULL,
        agent TEXT NOT NULL,
        step TEXT NOT NULL,
        run TEXT NOT NULL,
        thread TEXT NOT NULL,
        path TEXT NOT NULL,
        task TEXT NOT NULL,
        attempt INTEGER NOT NULL,        -- the agent's own count of tries at this step
        labels TEXT NOT NULL,            -- JSON
        key_id TEXT NOT NULL,
        model TEXT NOT NULL,             -- as asked for
        stream INTEGER NOT NULL,
        embedded INTEGER NOT NULL,
        plan TEXT,                       -- plans.digest; no plan: refused before one was made
        propensity REAL,
        explored INTEGER,
        status INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        error_type TEXT NOT NULL,
        served_model TEXT NOT NULL,
        served_deployment TEXT NOT NULL,
        latency REAL NOT NULL,           -- seconds, as are the next two
        ttft REAL,
        routing REAL NOT NULL,
        input_tokens INTEGER,            -- of all attempts together, as are the next four
        output_tokens INTEGER,
        cached_tokens INTEGER,
        cache_write_tokens INTEGER,
        reasoning_tokens INTEGER,
        cost INTEGER,                    -- nano-USD over all attempts; NULL: unknown
        attempts TEXT NOT NULL           -- JSON
    ) WITHOUT ROWID;
    CREATE INDEX calls_by_run ON calls (run, decision_id) WHERE run != '';
    CREATE TABLE outcomes (
        id INTEGER PRIMARY KEY,
        at_ns INTEGER NOT NULL,
        scope TEXT NOT NULL,
        scope_id TEXT NOT NULL,
        step TEXT NOT NULL,
        agent TEXT NOT NULL,
        name TEXT NOT NULL,
        value REAL NOT NULL,
        source TEXT NOT NULL,
        version TEXT NOT NULL,
        key TEXT NOT NULL
    );
    CREATE UNIQUE INDEX outcomes_by_key ON outcomes (key, name) WHERE key != '';
    CREATE UNIQUE INDEX outcomes_by_name ON outcomes (scope, scope_id, step, name, source, version) WHERE key = '';
    CREATE INDEX outcomes_by_scope ON outcomes (scope, scope_id);
    CREATE TABLE statistics (
        name TEXT PRIMARY KEY,
        at_ns INTEGER NOT NULL,
        body BLOB NOT NULL               -- zlib, JSON
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE purses (
        name TEXT NOT NULL,
        day TEXT NOT NULL,               -- ISO, UTC
        spent INTEGER NOT NULL,          -- nano-USD, reservations included
        PRIMARY KEY (name, day)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE plans ADD COLUMN cost_low REAL;      -- nano-USD between which nine of ten calls are to lie
    ALTER TABLE plans ADD COLUMN cost_high REAL;
    ALTER TABLE plans ADD COLUMN latency_low REAL;   -- seconds
    ALTER TABLE plans ADD COLUMN latency_high REAL;
    """,
    """
    ALTER TABLE calls ADD COLUMN shadow_of TEXT;     -- decision_id of the call that this was asked beside; NULL: a call of a client
    """,
    """
    ALTER TABLE calls ADD COLUMN text BLOB;          -- what was said, embedded: digest (4 bytes), numbers; NULL: not kept
    ALTER TABLE calls ADD COLUMN by_text INTEGER;    -- 1: its plan gives each call an arm by its text
    """,
    """
    ALTER TABLE calls ADD COLUMN guessed_input_tokens INTEGER;   -- with estimates for what no provider reported; NULL: none was needed, or
    ALTER TABLE calls ADD COLUMN guessed_output_tokens INTEGER;  -- possible. What is learnt comes from the columns without `guessed`
    ALTER TABLE calls ADD COLUMN guessed_cost INTEGER;           -- nano-USD
    """,
)


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the tables up to date; the version they have now.

    Raises:
        sqlite3.Error: they cannot be brought up to date.
        ValueError: they were made by a newer version of this program.
    """
    connection.execute("BEGIN IMMEDIATE")  # two processes that start together migrate one after the other
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied_ns INTEGER NOT NULL)"
        )
        found: int = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()[0]
        _refuse_newer(found)
        for version, script in enumerate(MIGRATIONS[found:], found + 1):
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", (version, clock.wall_ns()))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return len(MIGRATIONS)


def _refuse_newer(found: int) -> None:
    if found > len(MIGRATIONS):
        raise ValueError(f"it has schema version {found}, this program knows {len(MIGRATIONS)}")


def _statements(script: str) -> list[str]:
    """One statement each: `executescript` would end the transaction."""
    bare = "\n".join(line.partition("--")[0] for line in script.splitlines())
    return [statement for statement in map(str.strip, bare.split(";")) if statement]
