"""What is in a write-ahead log is moved to its file beside those that write, not by them: a disk that is slow for a second holds nobody up."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

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
            thread = threading.Thread(target=self._run, name="fw-ledger", daemon=True)
            with suppress(RuntimeError):  # the interpreter ends: the last connection that closes moves what is left
                thread.start()
                self._thread = thread

    def close(self) -> None:
        """No more of them; the one that is under way is waited for. The last connection that closes moves what is left."""
        self._over.set()
        self._written.set()
        if self._thread is not None:
            self._thread.join(self._every)

    def _run(self) -> None:
        with ExitStack() as stack:
            connection: sqlite3.Connection | None = None
            while not self._over.wait(self._every):
                self._written.wait()
                self._written.clear()
                try:
                    connection = connection or stack.enter_context(closing(self._connect()))
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                except sqlite3.Error as fault:
                    _log.warning("the write-ahead log of the ledger is moved to its file later: %s", fault)


__all__ = ["Checkpoints"]
