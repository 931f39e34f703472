"""Statistics that several processes add to: each knows what it has added since they were last put together."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fw_policies.estimate import Observation, OutcomeSeen, Statistics

Key = tuple[str, ...]


class Shared(Statistics):
    """What all have seen up to the last exchange, and what this process has seen since."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        super().__init__()
        self._mine = Statistics()
        self._changes: list[Callable[[Statistics], None]] = []
        """What was declared void or moved since, which is no sum."""

    def observe(self, seen: Observation) -> None:
        """One attempt is over."""
        super().observe(seen)
        self._mine.observe(seen)

    def outcome(self, seen: OutcomeSeen) -> None:
        """One outcome of a step came in."""
        super().outcome(seen)
        self._mine.outcome(seen)

    def forget_outcomes(self, key: Key) -> None:
        """Nothing is known any more of this outcome."""
        super().forget_outcomes(key)
        self._mine.forget_outcomes(key)
        self._changes.append(partial(Statistics.forget_outcomes, key=key))

    def moved(self, place: Key, measure: str, times: float) -> None:
        """A deployment takes `times` as long as before."""
        super().moved(place, measure, times)
        self._mine.moved(place, measure, times)
        self._changes.append(partial(Statistics.moved, place=place, measure=measure, times=times))

    def take(self) -> "Addition":
        """What this process has added; from here on it begins anew."""
        found = Addition(self._mine, self._changes)
        self._mine, self._changes = Statistics(), []
        return found

    def give_back(self, found: "Addition") -> None:
        """What was taken has not been put together with the rest."""
        found.statistics.merge(self._mine)
        self._mine = found.statistics
        self._changes = [*found.changes, *self._changes]

    def renewed(self, together: Mapping[str, Any]) -> "Shared":
        """`together` (of all, plain) with what this process has seen since it was put together."""
        out = Shared.from_dict(together)
        for change in self._changes:
            change(out)
        out.merge(self._mine)
        out._mine, out._changes = self._mine, self._changes  # noqa: SLF001 - of our own class
        return out


class Addition:
    """What one process has to add to what all have seen."""

    def __init__(self, statistics: Statistics, changes: list[Callable[[Statistics], None]]) -> None:
        """Sums, and what is no sum."""
        self.statistics = statistics
        self.changes = changes

    def to(self, together: Mapping[str, Any] | None, drift: Mapping[str, Any]) -> dict[str, Any]:
        """`together` with this added, plain. What is void for one process is void for all; what alarms listen to is the newest's."""
        found = together or {}
        total = Statistics.from_dict(found)
        for change in self.changes:
            change(total)
        total.merge(self.statistics)
        before = found.get("drift", {})
        united = {name: {**before.get(name, {}), **drift.get(name, {})} for name in ("void", "said")}
        return {**total.to_dict(), "drift": {**drift, **united}}
