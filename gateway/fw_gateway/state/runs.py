"""What each run has spent and when it began: a policy's limits on a run bind over all of its calls."""

import sqlite3
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

FILE = "runs.sqlite"
"""Where workers keep it together; made anew whenever the gateway starts."""
_BUSY = 1.0

MEMORY = 20_000
"""Runs remembered; the one that was quiet for longest is forgotten first, and begins anew."""


@dataclass(slots=True)
class Spent:
    """One run so far."""

    began: float
    """Monotonic seconds of its first call."""
    cost: int = 0
    """Nano-USD, over calls whose cost is known."""


class Runs:
    """Spending by run id, in this process."""

    def __init__(self, memory: int = MEMORY) -> None:
        """`memory`: runs to remember."""
        self._runs: OrderedDict[str, Spent] = OrderedDict()
        self._memory = memory

    def seen(self, run: str, now: float) -> Spent:
        """A call of this run begins."""
        found = self._runs.get(run)
        if found is None:
            found = self._runs[run] = Spent(now)
            if len(self._runs) > self._memory:
                self._runs.popitem(last=False)
        self._runs.move_to_end(run)
        return found

    def spend(self, run: str, cost: int) -> None:
        """A call of this run is over, and cost this much."""
        found = self._runs.get(run)
        if found is not None:
            found.cost += cost

    def close(self) -> None:
        """Forget it."""
        self._runs.clear()


class SharedRuns(Runs):
    """Spending by run id, of all workers of one machine. A call costs some ten microseconds more."""

    def __init__(self, folder: str) -> None:
        """`folder`: the state directory, which exists.

        Raises:
            sqlite3.Error: it cannot be used.
        """
        super().__init__()
        self._file = sqlite3.connect(Path(folder) / FILE, timeout=_BUSY, isolation_level=None)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=OFF")  # it does not outlive the machine
        self._file.execute("CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, began REAL, cost INTEGER)")

    def seen(self, run: str, now: float) -> Spent:
        """A call of this run begins; `now` is the clock that all processes of a machine share."""
        found = self._file.execute(
            "INSERT INTO runs VALUES (?, ?, 0) ON CONFLICT (run) DO UPDATE SET began = min(began, excluded.began)"
            " RETURNING began, cost",
            (run, now),
        ).fetchall()
        return Spent(*found[0])

    def spend(self, run: str, cost: int) -> None:
        """A call of this run is over, and cost this much."""
        self._file.execute("UPDATE runs SET cost = cost + ? WHERE run = ?", (cost, run))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
