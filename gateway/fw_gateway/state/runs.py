"""What each run has spent and when it began: a policy's limits on a run bind over all of its calls."""

from collections import OrderedDict
from dataclasses import dataclass

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
