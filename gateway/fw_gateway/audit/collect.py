"""Rows to sums: what each (agent, step, model) cost and took, and which outcomes there are. One pass; a call leaves a few numbers."""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from fw_gateway.audit.prices import Prices
from fw_gateway.audit.prove import Seen
from fw_gateway.audit.rows import CallRow, Row, RunName, Score

RUN = "(whole run)"
"""The step of evidence that speaks about all of a run."""


@dataclass(slots=True)
class Group:
    """The calls of one (agent, step, model, provider)."""

    agent: str
    step: str
    model: str
    provider: str
    calls: int = 0
    failed: int = 0
    cost: int = 0
    """Nano-USD of those whose cost is known."""
    unpriced: int = 0
    """Calls whose cost is unknown."""
    listed: int = 0
    """Calls priced from the catalog, not by the export."""
    input_tokens: int = 0
    cached_tokens: int = 0
    cached_of: int = 0
    """Input tokens of the calls that say how many were cached."""
    output_tokens: int = 0
    untold: int = 0
    """Calls that report no tokens."""
    latency: "array[float]" = field(default_factory=lambda: array("f"))
    ttft: "array[float]" = field(default_factory=lambda: array("f"))


@dataclass(slots=True)
class _Call:
    group: Group
    run: str
    cost: int | None


@dataclass(slots=True)
class Evidences:
    """Outcomes of one name, placed."""

    outcome: str
    seen: dict[str, dict[str, dict[str, list[Seen]]]]
    """Agent -> step -> model -> runs."""
    mixed: int = 0
    """Runs with an outcome in which several models served: they speak for none of them."""
    unplaced: int = 0
    """Outcomes of calls or runs that are not in the files."""
    out_of_range: int = 0
    """Values outside 0..1."""


class Collector:
    """Takes rows in any order."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self.groups: dict[tuple[str, str, str, str], Group] = {}
        self.first = math.inf
        self.last = -math.inf
        self.names: Counter[str] = Counter()
        """Outcome name -> how many lie in 0..1."""
        self._calls: dict[str, _Call] = {}
        self._runs: dict[str, dict[int, tuple[Group, int | None]]] = {}
        self._scores: dict[tuple[str, str, str, str], float] = {}
        self._agents: dict[str, str] = {}

    def add_all(self, rows: Iterable[Row]) -> None:
        """Take every row."""
        for row in rows:
            if isinstance(row, CallRow):
                self._call(row)
            elif isinstance(row, Score):
                key = (row.name, row.run, row.call, row.step)
                self.names[row.name] += key not in self._scores and 0 <= row.value <= 1
                self._scores[key] = row.value
            elif isinstance(row, RunName):
                self._agents[row.run] = row.agent

    def _call(self, row: CallRow) -> None:
        if row.call and row.call in self._calls:  # a file that was given twice, or an export that repeats itself
            return
        group = self._group(row)
        cost = self._count(group, row)
        if row.call:
            self._calls[row.call] = _Call(group, row.run, cost)
        parts = self._runs.setdefault(row.run, {})
        before = parts.get(id(group), (group, 0))[1]
        parts[id(group)] = (group, None if before is None or cost is None else before + cost)

    def _group(self, row: CallRow) -> Group:
        agent = row.agent or self._agents.get(row.run, "")
        key = (agent, row.step, row.model, row.provider)
        found = self.groups.get(key)
        if found is None:
            found = self.groups[key] = Group(*key)
        return found

    def _count(self, group: Group, row: CallRow) -> int | None:
        """Add the call to its group; its cost in nano-USD."""
        group.calls += 1
        group.failed += not row.ok
        cost = row.cost
        if cost is None and (cost := self._prices.of(row)) is not None:
            group.listed += 1
        if cost is None:
            group.unpriced += 1
        else:
            group.cost += cost
        if row.input_tokens is None and row.output_tokens is None:
            group.untold += 1
        group.input_tokens += row.input_tokens or 0
        group.output_tokens += row.output_tokens or 0
        if row.cached_tokens is not None and row.input_tokens is not None:
            group.cached_tokens += min(row.cached_tokens, row.input_tokens)
            group.cached_of += row.input_tokens
        if row.latency is not None and row.ok:
            group.latency.append(row.latency)
        if row.ttft is not None and row.ok:
            group.ttft.append(row.ttft)
        if row.time is not None:
            self.first, self.last = min(self.first, row.time), max(self.last, row.time)
        return cost

    @property
    def runs(self) -> int:
        """Runs that were seen."""
        return len(self._runs)

    def evidence(self, outcome: str) -> Evidences:
        """Where each outcome of this name belongs.

        One of a call, or of a step, speaks for the model of that step in that run; one of a run for the model of the whole run,
        and for a step only where the run has no other.
        """
        found = Evidences(outcome, defaultdict(lambda: defaultdict(lambda: defaultdict(list))))
        for (name, run, call, step), value in self._scores.items():
            if name != outcome:
                continue
            if not 0 <= value <= 1:
                found.out_of_range += 1
            elif call and call in self._calls:
                known = self._calls[call]
                _put(found, known.group, known.group.step, Seen(call, value, known.cost))
            elif run in self._runs:
                self._of_run(found, run, step, value)
            else:
                found.unplaced += 1
        return found

    def _of_run(self, found: Evidences, run: str, step: str, value: float) -> None:
        parts = [part for part in self._runs[run].values() if not step or part[0].step == step]
        if not parts:
            found.unplaced += 1
            return
        if len({(group.agent, group.model) for group, _ in parts}) != 1:
            found.mixed += 1
            return
        costs = [cost for _, cost in parts]
        cost = None if None in costs else float(sum(cost for cost in costs if cost is not None))
        steps = {group.step for group, _ in parts}
        _put(found, parts[0][0], steps.pop() if len(steps) == 1 else RUN, Seen(run, value, cost))


def _put(found: Evidences, group: Group, step: str, seen: Seen) -> None:
    found.seen[group.agent][step][group.model].append(seen)
