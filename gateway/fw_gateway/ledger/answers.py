"""Answers that may be asked for again, in a SQLite file of their own: shared by the processes of one state directory, safe to delete."""

import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from fw_gateway.ledger.port import LedgerError

FILE = "answers.sqlite"
_BUSY = 5.0
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    scope TEXT PRIMARY KEY,
    asked BLOB NOT NULL,
    at_ns INTEGER NOT NULL,
    status INTEGER NOT NULL,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_at ON answers (at_ns);
CREATE TABLE IF NOT EXISTS claims (
    scope TEXT PRIMARY KEY,
    asked BLOB NOT NULL,
    owner TEXT NOT NULL,
    until_ns INTEGER NOT NULL
);
"""
_log = logging.getLogger("fw.ledger")


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it went out, and the digest of what was asked."""

    asked: bytes
    at_ns: int
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claimed:
    """Somebody else asks a question right now; the digest of it."""

    asked: bytes


class Answers:
    """Keeps answers by scope. Thread-safe; what fails is said once and costs nothing but the replay."""

    def __init__(self, folder: str | Path) -> None:
        """Open or create the file, for nobody else to read; its folder exists.

        Raises:
            LedgerError: it cannot be used.
        """
        self._path = Path(folder) / FILE
        self._lock = threading.Lock()
        self._complained = False
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_TABLE)
        except (OSError, sqlite3.Error) as fault:
            raise LedgerError(f"{self._path} cannot be used: {fault}. Delete it; it holds nothing of value.") from fault

    def get(self, scope: str, since_ns: int) -> Kept | None:
        """The answer of a scope that is not older; None: there is none."""
        try:
            with self._lock:
                return self._read(scope, since_ns)
        except sqlite3.Error as fault:
            self._complain(fault)
            return None

    def _read(self, scope: str, since_ns: int) -> Kept | None:
        found = self._connection.execute(
            "SELECT asked, at_ns, status, headers, body FROM answers WHERE scope = ? AND at_ns >= ?",
            (scope, since_ns),
        ).fetchone()
        if found is None:
            return None
        asked, at_ns, status, headers, body = found
        return Kept(asked, at_ns, status, orjson.loads(headers), zlib.decompress(body))

    def claim(self, scope: str, asked: bytes, owner: str, times: tuple[int, int, int]) -> Kept | Claimed | None:
        """The answer of a scope, or who asks for it; None: `owner` does from now on, and nobody else, until it is put or released.

        `times`, in nanoseconds of the wall clock: now, until when the claim holds unless it is renewed, since when answers count.
        """
        now, until, since = times
        try:
            with self._lock, self._connection:
                self._connection.execute("BEGIN IMMEDIATE")  # of two that come at once, one is first
                found = self._read(scope, since)
                if found is not None:
                    return found
                other = self._connection.execute(
                    "SELECT asked FROM claims WHERE scope = ? AND until_ns > ?", (scope, now)
                ).fetchone()
                if other is not None:
                    return Claimed(other[0])
                self._connection.execute("DELETE FROM claims WHERE until_ns <= ?", (now,))
                self._connection.execute("INSERT INTO claims VALUES (?, ?, ?, ?)", (scope, asked, owner, until))
        except sqlite3.Error as fault:
            self._complain(fault)
        return None

    def renew(self, scopes: Iterable[str], owner: str, until_ns: int) -> None:
        """These claims of an owner hold until then; one that it does not name ends by itself."""
        statement = "UPDATE claims SET until_ns = ? WHERE scope = ? AND owner = ?"
        try:
            with self._lock, self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(statement, [(until_ns, scope, owner) for scope in scopes])
        except sqlite3.Error as fault:
            self._complain(fault)

    def release(self, scope: str, owner: str) -> None:
        """Nobody asks any more, and there is no answer."""
        self._do("DELETE FROM claims WHERE scope = ? AND owner = ?", (scope, owner))

    def _do(self, statement: str, values: tuple[int | str, ...]) -> None:
        try:
            with self._lock:
                self._connection.execute(statement, values)
        except sqlite3.Error as fault:
            self._complain(fault)

    def put(self, scope: str, kept: Kept, since_ns: int) -> None:
        """Keep an answer, which ends the claim on it; what is older than `since_ns` is forgotten."""
        row = (
            scope,
            kept.asked,
            kept.at_ns,
            kept.status,
            orjson.dumps(dict(kept.headers)),
            zlib.compress(kept.body, 1),
        )
        try:
            with self._lock, self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute("DELETE FROM claims WHERE scope = ?", (scope,))
                self._connection.execute("DELETE FROM answers WHERE at_ns < ?", (since_ns,))
                self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.Error as fault:
            self._complain(fault)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def _complain(self, fault: sqlite3.Error) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("%s: %s; answers are not replayed after a restart", self._path, fault)
