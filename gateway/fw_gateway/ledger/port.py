"""What the gateway needs of a ledger: one row per call, the outcomes that are reported later, and the statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from fw_gateway.ledger.purses import Entry
from fw_gateway.ledger.rows import GUESSED
from fw_gateway.turns import Rest
from fw_gateway.values import Record
from fw_policies.model import Plan


class LedgerError(Exception):
    """The ledger cannot be used. The message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One call as the ledger remembers it."""

    decision_id: str
    row: Mapping[str, Any]
    """The columns of the call; money in nano-USD, times in seconds, None where nothing was known."""
    attempts: tuple[Mapping[str, Any], ...] = ()
    plan: Plan | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    """Outcome name -> newest value."""

    @property
    def actual(self) -> dict[str, Any]:
        """What became of it, in the shape that `fw_policies.explain` takes; `estimated` names what nobody reported."""
        names = ("status", "outcome", "cost", "latency", "ttft", "input_tokens", "output_tokens")
        found = {name: self.row[name] for name in names}
        found["quality"] = dict(self.quality)
        found["attempts"] = [_with_guesses(attempt, attempt.get("guessed") or {}) for attempt in self.attempts]
        return _with_guesses(found, {name: self.row[f"guessed_{name}"] for name in GUESSED})


def _with_guesses(known: Mapping[str, Any], guesses: Mapping[str, int | None]) -> dict[str, Any]:
    """What is known, with estimates where they are needed, and their names as `estimated`."""
    needed = {name: guess for name, guess in guesses.items() if guess is not None and guess != known[name]}
    found = {name: value for name, value in known.items() if name != "guessed"}
    return {**found, **needed, "estimated": [name for name in GUESSED if name in needed]}


@dataclass(frozen=True, slots=True)
class Report:
    """Outcomes as they are reported: what was measured, and of what."""

    scope: Literal["run", "decision"]
    id: str
    outcomes: Mapping[str, float]
    """Name -> value; true is 1, false is 0."""
    step: str = ""
    agent: str = ""
    source: str = ""
    version: str = ""
    key: str = ""
    """Idempotency key; without one, scope, id, step, name, source and version identify an outcome."""


@dataclass(frozen=True, slots=True)
class Served:
    """A call that an outcome speaks about."""

    decision_id: str
    agent: str
    step: str
    model: str
    deployment: str
    policy: str = ""
    explored: bool = False
    """Its plan was drawn by `explore`."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a report."""

    stored: int
    """Outcomes that were new."""
    duplicate: bool
    """All of them were known already."""
    served: tuple[Served, ...] = ()
    """The calls in its scope that were served, for the statistics. Empty for a duplicate, which must not count twice."""
    names: tuple[str, ...] = ()
    """Names of the outcomes that were new."""


@dataclass(frozen=True, slots=True)
class Trust:
    """How calls that were answered compare with what was planned for them. None: nothing was planned, or nothing is known."""

    n: int
    """Ranges of 90 % that were planned and whose actual value is known: of cost and of latency, so up to two a call."""
    held: int
    """Of those, how many held their value."""
    cost_ratio: float | None
    """Actual cost over planned mean, summed over the calls that have both."""
    latency_ratio: float | None


@runtime_checkable
class Ledger(Protocol):
    """The port. `write` is called by one thread and raises nothing; everything else by any thread."""

    @property
    def lost(self) -> int:
        """Rows that could not be written since the start."""
        ...

    def write(self, records: Sequence[Record], rest: Rest | None = None) -> None:
        """Keep one row per record, all in one transaction; with a `rest` between two turns of making them, or at once."""
        ...

    def decision(self, decision_id: str) -> Decision | None:
        """One call; None when it is not known (yet)."""
        ...

    def run(self, run_id: str) -> tuple[Decision, ...]:
        """The calls of a run in the order they began; empty when it is not known."""
        ...

    def latest_run(self) -> str | None:
        """Id of the run that made the newest call."""
        ...

    def trust(self, policy: str, step: str, since_ns: int) -> Trust:
        """What became of estimates since then (nanoseconds since the epoch), among the newest calls."""
        ...

    def like(self, step: tuple[str, str], since_ns: int, labels: Sequence[str]) -> Mapping[str, int]:
        """What the newest calls of (policy, step) since then were like: `fw_policies.lock.cell` -> calls."""
        ...

    def record_outcome(self, report: Report) -> Stored:
        """Keep outcomes, once.

        Raises:
            LedgerError: they could not be written.
        """
        ...

    def save_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Replace the snapshot of what was learnt.

        Raises:
            LedgerError: it could not be written.
        """
        ...

    def update_statistics(self, update: Callable[[Mapping[str, Any] | None], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Replace the snapshot by what `update` makes of it, with no other process in between; what it is now.

        Raises:
            LedgerError: it could not be written.
        """
        ...

    def load_statistics(self) -> Mapping[str, Any] | None:
        """The newest snapshot; None when there is none, or it cannot be read."""
        ...

    def reserve(self, wanted: Entry, ceiling: int, returned: Sequence[Entry] = ()) -> tuple[bool, int]:
        """Set an amount aside, durably, if what is spent stays within `ceiling`; whether it was, and what is spent now.

        Raises:
            LedgerError: it could not be written.
        """
        ...

    def close(self) -> None:
        """Let go of the storage."""
        ...
