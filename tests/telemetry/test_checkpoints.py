"""The write-ahead log of the ledger: `fw_gateway.ledger.checkpoints`."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.ledger import SqliteLedger
from fw_gateway.ledger.checkpoints import Checkpoints
from tests.telemetry import samples


class Slow:
    """A connection whose disk is slow: it waits until it is let go."""

    def __init__(self, fault: sqlite3.Error | None = None) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.closed = False
        self._fault = fault

    def execute(self, _: str) -> Any:
        self.asked.set()
        if self._fault is not None:
            raise self._fault
        self.go.wait(30)
        return self

    def fetchall(self) -> list[Any]:
        return []

    def close(self) -> None:
        self.closed = True


def by(connection: object) -> Callable[[], Any]:
    """What opens it."""
    return lambda: connection


def rows_in_the_file_alone(path: Path) -> int:
    """What somebody sees who knows nothing of the log; 0 when that makes no sense."""
    try:
        with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
            found: int = connection.execute("SELECT count(*) FROM calls").fetchone()[0]
    except sqlite3.DatabaseError:
        return 0
    return found


def test_what_was_written_is_moved_to_the_file_while_the_ledger_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever copies the file without its log misses seconds, not everything since the start."""
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    monkeypatch.setattr(ledger, "_checkpoints", Checkpoints(ledger._connect, every=0.01))
    assert rows_in_the_file_alone(path) == 0
    ledger.write([samples.plain() for _ in range(5)])
    end = time.monotonic() + 10
    while rows_in_the_file_alone(path) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    assert rows_in_the_file_alone(path) == 5
    ledger.close()


def test_a_log_of_any_length_is_not_moved_by_those_that_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice what SQLite would move by itself, and the disk, which does not answer, holds nobody up."""
    path = tmp_path / "ledger.sqlite"
    ledger, slow = SqliteLedger(path), Slow()
    monkeypatch.setattr(ledger, "_checkpoints", Checkpoints(by(slow), every=0.01))
    for _ in range(6):
        ledger.write([samples.plain() for _ in range(2500)])
    assert slow.asked.wait(10)
    assert (tmp_path / "ledger.sqlite-wal").stat().st_size > 2 * 4096 * 1000
    slow.go.set()
    ledger.close()
    assert slow.closed
    assert rows_in_the_file_alone(path) == 15_000  # the last that closes moves what is left


def test_a_disk_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the next write is another reason to try."""
    slow = Slow(sqlite3.OperationalError("disk I/O error"))
    checkpoints = Checkpoints(by(slow), every=0.01)
    for _ in range(2):
        slow.asked.clear()
        checkpoints.due()
        assert slow.asked.wait(10)
    checkpoints.close()
    assert "disk I/O error" in caplog.text


def test_a_file_that_cannot_be_opened_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody else moves the log, so a thread that gave up would let it grow for ever."""
    slow, tries = Slow(), iter([sqlite3.OperationalError("unable to open"), None])

    def connect() -> Any:
        if fault := next(tries):
            raise fault
        return slow

    checkpoints = Checkpoints(connect, every=0.01)
    end = time.monotonic() + 10
    while not slow.asked.wait(0.02) and time.monotonic() < end:
        checkpoints.due()
    slow.go.set()
    checkpoints.close()
    assert slow.asked.is_set()
    assert slow.closed
    assert "unable to open" in caplog.text


def test_who_writes_nothing_has_no_thread() -> None:
    """A command that reads starts none, and none is started after the end."""
    before = threading.active_count()
    checkpoints = Checkpoints(by(Slow()), every=0.01)
    checkpoints.close()
    checkpoints.due()
    assert threading.active_count() == before
