"""What is in a write-ahead log is moved to its file beside those that write, not by them: a disk that is slow for a second holds nobody up."""

import logging
import sqlite3
import threading
from collections.abc import Callable

EVERY = 2.0
"""Seconds between two times, at least: at 3,000 calls a second the log takes 4 MiB in them. What is in it is read as fast as the file."""
_log = logging.getLogger("fw.ledger")


class Checkpoints:
    """A thread with a connection of its own, from the first write on."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], *, every: float = EVERY) -> None:
        """`connect` opens the file; `every` is in seconds."""
        self._connect, self._every = connect, every
        self._written = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def due(self) -> None:
        """Something was written. For one thread at a time."""
        self._written.set()
        if self._thread is None and not self._over.is_set():
            self._thread = threading.Thread(target=self._run, name="fw-ledger", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """No more of them; the one that is under way is waited for. The last connection that closes moves what is left."""
        self._over.set()
        self._written.set()
        if self._thread is not None:
            self._thread.join(self._every)

    def _run(self) -> None:
        try:
            connection = self._connect()
        except sqlite3.Error as fault:  # whoever writes is told better
            _log.warning("the write-ahead log of the ledger is not moved to its file: %s", fault)
            return
        try:
            while not self._over.wait(self._every):
                self._written.wait()
                self._written.clear()
                self._move(connection)
        finally:
            connection.close()

    def _move(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as fault:
            _log.warning("the write-ahead log of the ledger is moved to its file later: %s", fault)


__all__ = ["Checkpoints"]
