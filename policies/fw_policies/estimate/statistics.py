"""What was seen, per step: accumulated as calls end, frozen for decisions, plain for the disk, added up over processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fw_policies.estimate import cost
from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.intervals import bounded_mean
from fw_policies.model import Estimate, Estimates, Facts, MachinePrice, Outlook, Target

Key = tuple[str, ...]
SEPARATOR = "\x1f"
VERSION = 3
KINDS = ("ttft", "latency", "tokens", "machine", "place")
"""Histograms: ttft, latency, machine by (agent, step, deployment); tokens by (agent, step, model); place: ttft by (deployment,)."""

RECENT = ("ttft", "latency", "machine", "place")
"""Those that forget: a deployment that has become slow, or quick again, is judged by its last calls."""
WINDOW = 256
"""Calls of a part; what counts is the part that is being filled and the one before it: 256 to 512 calls."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one attempt showed. Times in seconds, cost in nano-USD; None: not known."""

    agent: str
    step: str
    model: str
    deployment: str
    ok: bool
    ttft: float | None = None
    latency: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cost: int | None = None
    machine_seconds: float | None = None
    error_type: str = ""


@dataclass(frozen=True, slots=True)
class OutcomeSeen:
    """An outcome that was reported of a step: `value` in [0, 1], 1 is success."""

    agent: str
    step: str
    model: str
    name: str
    value: float


@dataclass(slots=True)
class Outcomes:
    """Count, sum and sum of squares of one outcome's values."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """One value, clipped to [0, 1]."""
        value = min(1.0, max(0.0, value))
        self.n += 1
        self.total += value
        self.squares += value * value

    def merge(self, other: "Outcomes") -> None:
        """Add another's."""
        self.n += other.n
        self.total += other.total
        self.squares += other.squares

    def estimate(self, confidence: float) -> Estimate | None:
        """The mean with bounds that hold for any distribution on [0, 1]."""
        if not self.n:
            return None
        low, high = bounded_mean(self.n, self.total, self.squares, confidence)
        return Estimate(self.total / self.n, low, high, self.n, confidence)


class Statistics:
    """The accumulator. `freeze` for decisions; `to_dict` for the disk; `merge` for a fleet."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._tables: dict[str, dict[Key, Histogram]] = {kind: {} for kind in KINDS}
        self._quality: dict[Key, Outcomes] = {}
        self._older: dict[str, dict[Key, Histogram]] = {kind: {} for kind in RECENT}
        """The part before the one that is being filled."""
        self._frozen: dict[str, dict[Key, Histogram]] = {kind: {} for kind in KINDS}
        self._dirty: set[tuple[str, Key]] = set()

    def observe(self, seen: Observation) -> None:
        """One attempt is over."""
        here = (seen.agent, seen.step, seen.deployment)
        if not seen.ok:
            for kind in ("ttft", "latency"):
                self._at(kind, here).censor()
            self._at("place", (seen.deployment,)).censor()
            return
        if seen.ttft is not None:
            self._at("ttft", here).add(seen.ttft)
            self._at("place", (seen.deployment,)).add(seen.ttft)
        if seen.latency is not None:
            self._at("latency", here).add(seen.latency)
        if seen.machine_seconds is not None:
            self._at("machine", here).add(seen.machine_seconds)
        if seen.output_tokens is not None:
            self._at("tokens", (seen.agent, seen.step, seen.model)).add(max(seen.output_tokens, 1))

    def outcome(self, seen: OutcomeSeen) -> None:
        """One outcome of a step came in."""
        self._quality.setdefault((seen.agent, seen.step, seen.model, seen.name), Outcomes()).add(seen.value)

    def _at(self, kind: str, key: Key) -> Histogram:
        self._dirty.add((kind, key))
        table = self._tables[kind]
        found = table.get(key)
        if found is not None and found.total >= WINDOW and kind in self._older:
            self._older[kind][key], found = found, None
        if found is None:
            found = table[key] = Histogram()
        return found

    def _whole(self, kind: str, key: Key) -> Histogram:
        """Everything that counts."""
        out = self._tables[kind][key].copy()
        older = self._older[kind].get(key) if kind in self._older else None
        if older is not None:
            out.merge(older)
        return out

    def steps(self) -> set[tuple[str, str]]:
        """The (agent, step) pairs that something is known of."""
        keys = (*self._tables["latency"], *self._tables["tokens"], *self._quality)
        return {(key[0], key[1]) for key in keys}

    def freeze(self) -> "Snapshot":
        """What is known now, for good; costs by what changed since the last time."""
        for kind, key in self._dirty:
            self._frozen[kind][key] = self._whole(kind, key)
        self._dirty.clear()
        tables = {kind: dict(table) for kind, table in self._frozen.items()}
        quality = {key: Outcomes(o.n, o.total, o.squares) for key, o in self._quality.items()}
        return Snapshot(tables, quality)

    def merge(self, other: "Statistics") -> None:
        """Add what another process has seen."""
        for kind, table in other._tables.items():  # noqa: SLF001 - of our own class
            for key, histogram in table.items():
                self._at(kind, key).merge(histogram)
        for kind, table in other._older.items():  # noqa: SLF001 - of our own class
            for key, histogram in table.items():
                self._older[kind].setdefault(key, Histogram()).merge(histogram)
                self._dirty.add((kind, key))
        for key, outcomes in other._quality.items():  # noqa: SLF001 - of our own class
            self._quality.setdefault(key, Outcomes()).merge(outcomes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        out: dict[str, Any] = {"version": VERSION}
        for kind, table in self._tables.items():
            out[kind] = {SEPARATOR.join(key): histogram.to_dict() for key, histogram in table.items()}
        out["older"] = {
            kind: {SEPARATOR.join(key): histogram.to_dict() for key, histogram in table.items()}
            for kind, table in self._older.items()
        }
        out["quality"] = {SEPARATOR.join(key): [o.n, o.total, o.squares] for key, o in self._quality.items()}
        return out

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Statistics":
        """The statistics that `to_dict` made plain, by this version or the one before; another's are not read: nothing is known then."""
        out = cls()
        if found.get("version") not in {VERSION, VERSION - 1}:
            return out
        for kind, table in found.get("older", {}).items():
            for key, histogram in table.items():
                out._older[kind][tuple(key.split(SEPARATOR))] = Histogram.from_dict(histogram)
        for kind in KINDS:
            for key, histogram in found.get(kind, {}).items():
                parts = tuple(key.split(SEPARATOR))
                out._tables[kind][parts] = Histogram.from_dict(histogram)
                out._dirty.add((kind, parts))
        for key, (n, total, squares) in found.get("quality", {}).items():
            out._quality[tuple(key.split(SEPARATOR))] = Outcomes(int(n), float(total), float(squares))
        return out


class Snapshot(Estimates):
    """Statistics, frozen; looks up and computes, remembers what it computed."""

    __slots__ = ("_memory", "_quality", "_tables")

    def __init__(self, tables: Mapping[str, Mapping[Key, Histogram]], quality: Mapping[Key, Outcomes]) -> None:
        """`tables` and `quality` are not changed any more."""
        self._tables = tables
        self._quality = quality
        self._memory: dict[tuple[Any, ...], Estimate | None] = {}

    def outlook(self, facts: Facts, target: Target, *, outcome: str = "", confidence: float = 0.90) -> Outlook:
        """What to expect of `target` at this step; parts never observed here are None. Quality is that of `outcome`."""
        here = (facts.agent, facts.step, target.deployment)
        of_model = (facts.agent, facts.step, target.model)
        tokens = self._estimate("tokens", of_model, confidence)
        return Outlook(
            quality=self._outcome((*of_model, outcome), confidence) if outcome else None,
            ttft=self._estimate("ttft", here, confidence) or self._estimate("place", (target.deployment,), confidence),
            latency=self._estimate("latency", here, confidence),
            cost=self._cost(facts, target, tokens, confidence),
            output_tokens=tokens,
        )

    def histogram(self, measure: str, facts: Facts, target: Target) -> Histogram | None:
        """The distribution behind `ttft` or `latency`; ttft falls back to all steps of the deployment."""
        found = self._tables[measure].get((facts.agent, facts.step, target.deployment))
        if found is None and measure == "ttft":
            return self._tables["place"].get((target.deployment,))
        return found

    def cost_percentile(self, facts: Facts, target: Target, share: float, confidence: float) -> float | None:
        """Nano-USD that a call stays below with probability `share`, proven at `confidence`; None while nothing is proven."""
        price = target.price
        if isinstance(price, MachinePrice):
            seconds = self._tables["machine"].get((facts.agent, facts.step, target.deployment))
            edge = None if seconds is None else seconds.percentile(share, confidence)
            return None if edge is None else edge * price.hour / cost.HOUR
        used = self._tables["tokens"].get((facts.agent, facts.step, target.model))
        edge = None if used is None else used.percentile(share, confidence)
        if price is None or edge is None:
            return None
        return cost.tokens(facts.input_tokens, price.input) + edge * price.output / cost.MILLION

    def _estimate(self, kind: str, key: Key, confidence: float) -> Estimate | None:
        memo = (kind, key, confidence)
        if memo not in self._memory:
            histogram = self._tables[kind].get(key)
            self._memory[memo] = None if histogram is None else histogram.estimate(confidence)
        return self._memory[memo]

    def _outcome(self, key: Key, confidence: float) -> Estimate | None:
        memo = ("quality", key, confidence)
        if memo not in self._memory:
            found = self._quality.get(key)
            self._memory[memo] = None if found is None else found.estimate(confidence)
        return self._memory[memo]

    def _cost(self, facts: Facts, target: Target, tokens: Estimate | None, confidence: float) -> Estimate | None:
        """Nano-USD of one call: machine-seconds × price, or input × price + output (as observed) × price."""
        price = target.price
        if price is None:
            return None
        if isinstance(price, MachinePrice):
            seconds = self._estimate("machine", (facts.agent, facts.step, target.deployment), confidence)
            return None if seconds is None else _scaled(seconds, price.hour / cost.HOUR, 0)
        if tokens is None:
            return None
        return _scaled(tokens, price.output / cost.MILLION, cost.tokens(facts.input_tokens, price.input))


def _scaled(estimate: Estimate, factor: float, offset: float) -> Estimate:
    p95 = None if estimate.p95 is None else estimate.p95 * factor + offset
    return Estimate(
        estimate.mean * factor + offset,
        estimate.low * factor + offset,
        estimate.high * factor + offset,
        estimate.n,
        estimate.confidence,
        p95,
    )
