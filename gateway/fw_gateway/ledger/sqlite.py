"""The ledger in one SQLite file: written in groups by one thread, read by any.

`synchronous=NORMAL` in WAL mode: a crash of this process loses nothing that was committed; a power cut may lose the last
transactions, never the file. That is enough while a row is a record of a call and budgets are kept elsewhere; once a row is the
settlement of a reservation it must be FULL.
"""

import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from fw_gateway import clock
from fw_gateway.lasting import Lasting
from fw_gateway.ledger import history, plans, purses, rows, schema, walks
from fw_gateway.ledger.checkpoints import Checkpoints
from fw_gateway.ledger.port import Decision, LedgerError, Report, Served, Stored, Trust
from fw_gateway.ledger.purses import Entry
from fw_gateway.turns import Rest, breathe, turns
from fw_gateway.values import Record
from fw_policies.model import Plan

_log = logging.getLogger("fw.ledger")

FILE = "ledger.sqlite"
_BUSY = 5.0
"""Seconds to wait for another process that is writing."""
_TURN = 32
"""Rows made, or written, at once: a third of a millisecond."""

_SNAPSHOT = "SELECT body FROM statistics WHERE name = 'current'"


class SqliteLedger:
    """`Ledger` on SQLite. Thread-safe: one connection writes under a lock, each reader opens its own."""

    def __init__(self, path: str | Path, *, texts: Callable[[Record], bytes | None] = lambda record: None) -> None:
        """Open or create the file; its folder, when created here, is closed to everybody else.

        `texts`: what is kept of what a call said; it is asked by the thread that writes.

        Raises:
            LedgerError: it cannot be opened, or belongs to a newer version.
        """
        self.path = Path(path)
        self._lock = threading.Lock()
        self._making = threading.Lock()
        """Held by the one that makes rows; taken before the other."""
        self._texts = texts
        self._lost = 0
        self._complained = False
        self._checkpoints = Checkpoints(self._connect)
        self._new: list[tuple[Any, ...]] = []
        """Rows of plans that are not in the file yet."""
        self._digests = Lasting(self._packed)
        try:
            if not self.path.parent.exists():
                self.path.parent.mkdir(parents=True, mode=0o700)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = self._connect()
        except (OSError, sqlite3.Error) as fault:
            raise LedgerError(
                f"The ledger {self.path} cannot be opened: {fault}. "
                f"Set FW_STATE_DIR to a folder on a local disk that this user may write to."
            ) from fault
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            schema.migrate(self._connection)
            self._connection.execute("PRAGMA wal_autocheckpoint=0")
        except (sqlite3.Error, ValueError) as fault:
            self._connection.close()
            raise LedgerError(
                f"The ledger {self.path} cannot be used: {fault}. Move it aside, or use the version that made it."
            ) from fault

    @property
    def lost(self) -> int:
        """Rows that could not be written since the start."""
        return self._lost

    def write(self, records: Sequence[Record], rest: Rest | None = None) -> None:
        """Keep one row per record, all in one transaction. A failure is counted, said once, and ends nothing."""
        with self._making:
            calls = [self._row(record) for some in turns(records, _TURN, rest) for record in some]
            # Others may wait for the file: it is not kept longer than need be.
            self._keep(calls, breathe if rest else None)

    def _row(self, record: Record) -> tuple[Any, ...]:
        digest = None if record.plan is None else self._digests[record.plan]
        return rows.call_row(record, digest, self._texts(record))

    def _keep(self, calls: Sequence[tuple[Any, ...]], rest: Rest | None) -> None:
        try:
            with self._writing() as connection:
                connection.executemany(rows.INSERT_PLAN, self._new)
                for some in turns(calls, _TURN, rest):
                    connection.executemany(rows.INSERT_CALL, some)
            self._new.clear()
        except sqlite3.Error as fault:
            self._new.clear()
            self._digests.clear()  # the plans of this group are not in the file either
            self._lost += len(calls)
            if not self._complained:
                self._complained = True
                _log.error("%s: %s; calls are served, but their rows are lost (counted)", self.path, fault)

    def decision(self, decision_id: str) -> Decision | None:
        """One call; None when it is not known (yet)."""
        with self._reader() as connection:
            found = _decisions(connection, "c.decision_id = ?", decision_id)
        return found[0] if found else None

    def run(self, run_id: str) -> tuple[Decision, ...]:
        """The calls of a run in the order they began; empty when it is not known."""
        if not run_id:
            return ()
        with self._reader() as connection:
            return tuple(_decisions(connection, "c.run = ? AND c.run != ''", run_id))

    def latest_run(self) -> str | None:
        """Id of the run that made the newest call."""
        with self._reader() as connection:
            found = connection.execute(
                "SELECT run FROM calls WHERE run != '' ORDER BY decision_id DESC LIMIT 1"
            ).fetchone()
        return None if found is None else str(found[0])

    def trust(self, policy: str, step: str, since_ns: int) -> Trust:
        """What became of estimates since then (nanoseconds since the epoch), among the newest calls.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        with self._reader() as connection:
            return history.trust(connection, policy, step, since_ns)

    def like(self, step: tuple[str, str], since_ns: int, labels: Sequence[str]) -> Mapping[str, int]:
        """What the newest calls of (policy, step) since then were like.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        with self._reader() as connection:
            return walks.like(connection, step, since_ns, labels)

    def record_outcome(self, report: Report) -> Stored:
        """Keep outcomes, once.

        Raises:
            LedgerError: they could not be written.
        """
        now = clock.wall_ns()
        about = (report.scope, report.id, report.step, report.agent)
        told = (report.source, report.version, report.key)
        names: list[str] = []
        try:
            with self._writing() as connection:
                for name, value in report.outcomes.items():
                    cursor = connection.execute(
                        "INSERT OR IGNORE INTO outcomes (at_ns, scope, scope_id, step, agent, name, value, source, version, key)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (now, *about, name, float(value), *told),
                    )
                    if cursor.rowcount:
                        names.append(name)
                served = _served(connection, report) if names else ()
        except sqlite3.Error as fault:
            raise LedgerError(f"The outcome could not be stored in {self.path}: {fault}. Send it again.") from fault
        return Stored(len(names), not names and bool(report.outcomes), served, tuple(names))

    def save_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Replace the snapshot of what was learnt.

        Raises:
            LedgerError: it could not be written.
        """
        self.update_statistics(lambda _: statistics)

    def update_statistics(self, update: Callable[[Mapping[str, Any] | None], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Replace the snapshot by what `update` makes of it, with no other process in between; what it is now.

        Raises:
            LedgerError: it could not be written.
        """
        try:
            with self._writing() as connection:
                statistics = update(self._unpacked(connection.execute(_SNAPSHOT).fetchone()))
                body = zlib.compress(orjson.dumps(statistics), 1)
                connection.execute(
                    "INSERT OR REPLACE INTO statistics VALUES ('current', ?, ?)", (clock.wall_ns(), body)
                )
        except sqlite3.Error as fault:
            raise LedgerError(f"The statistics could not be saved in {self.path}: {fault}.") from fault
        return statistics

    def load_statistics(self) -> Mapping[str, Any] | None:
        """The newest snapshot; None when there is none, or it cannot be read."""
        with self._reader() as connection:
            return self._unpacked(connection.execute(_SNAPSHOT).fetchone())

    def _unpacked(self, found: Sequence[Any] | None) -> Mapping[str, Any] | None:
        if found is None:
            return None
        try:
            loaded: Mapping[str, Any] = orjson.loads(zlib.decompress(found[0]))
        except (ValueError, zlib.error) as fault:
            _log.warning("%s: the saved statistics cannot be read (%s); learning begins anew", self.path, fault)
            return None
        return loaded

    def reserve(self, wanted: Entry, ceiling: int, returned: Sequence[Entry] = ()) -> tuple[bool, int]:
        """Set an amount aside if what is spent stays within `ceiling`; whether it was, and what is spent now. `returned` is booked first.

        It is on the disk when this returns: a power cut forgets no reservation.

        Raises:
            LedgerError: it could not be written.
        """
        try:
            with self._writing(durably=True) as connection:
                purses.add(connection, returned)
                before = purses.spent(connection, wanted.purse, wanted.day)
                fits = before + wanted.amount <= ceiling
                if fits:
                    purses.add(connection, [wanted])
        except sqlite3.Error as fault:
            raise LedgerError(f"Nothing could be reserved in {self.path}: {fault}.") from fault
        return fits, before + wanted.amount if fits else before

    def close(self) -> None:
        """Let go of the file."""
        self._checkpoints.close()
        with self._lock:
            self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)

    @contextmanager
    def _writing(self, *, durably: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction; `durably`: it is on the disk at the end."""
        with self._lock:
            if durably:
                self._connection.execute("PRAGMA synchronous=FULL")
            try:
                with _transaction(self._connection) as connection:
                    yield connection
            finally:
                if durably:
                    self._connection.execute("PRAGMA synchronous=NORMAL")
            self._checkpoints.due()

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connect()
        except sqlite3.Error as fault:
            raise LedgerError(f"The ledger {self.path} cannot be read: {fault}.") from fault
        try:
            connection.execute("PRAGMA query_only=1")
            connection.row_factory = sqlite3.Row
            yield connection
        except sqlite3.Error as fault:
            raise LedgerError(f"The ledger {self.path} cannot be read: {fault}.") from fault
        finally:
            connection.close()

    def _packed(self, plan: Plan) -> str:
        """The digest of a plan that was not seen before; its row is written with the calls that have it."""
        digest, body = plans.pack(plan)
        self._new.append(rows.plan_row(plan, digest, body))
        return digest


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled it back already
            connection.execute("ROLLBACK")
        raise


def _decisions(connection: sqlite3.Connection, where: str, value: str) -> list[Decision]:
    found = connection.execute(
        f"SELECT c.*, p.body AS plan_body, p.policy, p.version AS policy_version FROM calls c "  # noqa: S608 - `where` is ours
        f"LEFT JOIN plans p ON p.digest = c.plan WHERE {where} ORDER BY c.started_ns, c.decision_id",
        (value,),
    ).fetchall()
    return [_decision(connection, row) for row in found]


def _decision(connection: sqlite3.Connection, row: sqlite3.Row) -> Decision:
    columns = {key: row[key] for key in row.keys() if key not in ("plan_body", "attempts", "text")}  # noqa: SIM118 - a Row iterates its values
    return Decision(
        decision_id=row["decision_id"],
        row=columns,
        attempts=tuple(orjson.loads(row["attempts"])),
        plan=None if row["plan_body"] is None else plans.unpack(row["plan_body"]),
        quality=_quality(connection, row),
    )


def _quality(connection: sqlite3.Connection, row: sqlite3.Row) -> dict[str, float]:
    """Outcomes of the call itself, and those of its run that name its step or no step; the newest of a name wins."""
    found = connection.execute(
        "SELECT name, value FROM outcomes WHERE (scope = 'decision' AND scope_id = ?)"
        " OR (scope = 'run' AND scope_id = ? AND ? != '' AND (step = '' OR step = ?)) ORDER BY id",
        (row["decision_id"], row["run"], row["run"], row["step"]),
    )
    return {name: value for name, value in found}  # noqa: C416 - a Row is no pair to mypy


def _served(connection: sqlite3.Connection, report: Report) -> tuple[Served, ...]:
    """Whom an outcome is about: the model that served; where one was rejected before it, the first of those.

    Else a model that follows others would be judged by the requests that were too hard for them, and they by the easy ones alone.
    """
    column = "decision_id" if report.scope == "decision" else "run"
    found = connection.execute(
        "SELECT decision_id, agent, step, served_model, served_deployment, attempts, p.policy, explored"  # noqa: S608 - `column` is ours
        f" FROM calls LEFT JOIN plans p ON p.digest = plan WHERE {column} = ? AND {column} != ''"
        " AND served_model != '' AND (? = '' OR step = ?) AND (? = '' OR agent = ?) ORDER BY decision_id",
        (report.id, report.step, report.step, report.agent, report.agent),
    )
    return tuple(
        Served(row[0], row[1], row[2], *_credited(row[3], row[4], row[5]), row[6] or "", bool(row[7])) for row in found
    )


def _credited(model: str, deployment: str, attempts: str) -> tuple[str, str]:
    if '"rejected"' in attempts:
        for attempt in orjson.loads(attempts):
            if attempt["outcome"] == "rejected":
                return attempt["model"], attempt["deployment"]
    return model, deployment
