"""What was seen, per step: accumulated as calls end, frozen for decisions, plain for the disk, added up over processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.outcomes import Outcomes
from fw_policies.estimate.reading import Reading, Tally, size_class
from fw_policies.estimate.snapshot import Key, Snapshot, left_out

SEPARATOR = "\x1f"
VERSION = 4
READABLE = frozenset({2, 3, 4})
KINDS = ("ttft", "latency", "tpot", "tokens", "read", "machine", "place")
"""Histograms: ttft, latency, tpot, machine by (agent, step, deployment); tokens by (agent, step, model); place: ttft by (deployment,).

Read, by (agent, step, model): the input that was billed ÷ what it was taken for once the factor of its size was known (see `reading`).
"""

RECENT = ("ttft", "latency", "tpot", "machine", "place")
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
    expected_tokens: int | None = None
    """What the input was taken for when the call was planned."""

    @property
    def tpot(self) -> float | None:
        """Seconds per output token: (latency − ttft) ÷ (tokens − 1), at least 1; None unless it was streamed and all three are known."""
        if self.ttft is None or self.latency is None or self.output_tokens is None:
            return None
        return max(0.0, self.latency - self.ttft) / max(1, self.output_tokens - 1)


@dataclass(frozen=True, slots=True)
class OutcomeSeen:
    """An outcome that was reported of a step: `value` in [0, 1], 1 is success."""

    agent: str
    step: str
    model: str
    name: str
    value: float


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
        self._judged: dict[Key, Outcomes] = {}
        self._reported: set[Key] = set()
        self._sizes: dict[Key, dict[int, Tally]] = {}
        """By (agent, step, model) and size class."""
        self._resized: set[Key] = set()
        self._readings: dict[Key, Reading] = {}
        self._recached: set[Key] = set()
        self._shares: dict[Key, float] = {}
        self._cached: dict[Key, tuple[float, float]] = {}
        """By (agent, step, deployment): input tokens, and those of them that were read from the provider's cache; the last WINDOW calls or so."""

    def observe(self, seen: Observation) -> None:
        """One attempt is over."""
        here = (seen.agent, seen.step, seen.deployment)
        if not seen.ok:
            for kind in ("ttft", "latency", "tpot"):
                self._at(kind, here).censor()
            self._at("place", (seen.deployment,)).censor()
            return
        if seen.ttft is not None:
            self._at("ttft", here).add(seen.ttft)
            self._at("place", (seen.deployment,)).add(seen.ttft)
        if seen.latency is not None:
            self._at("latency", here).add(seen.latency)
        if seen.tpot is not None:
            self._at("tpot", here).add(seen.tpot)
        if seen.machine_seconds is not None:
            self._at("machine", here).add(seen.machine_seconds)
        if seen.input_tokens and seen.expected_tokens:
            self._read((seen.agent, seen.step, seen.model), seen.expected_tokens, seen.input_tokens)
        if seen.cached_tokens is not None and seen.input_tokens:
            read, cached = self._cached.get(here, (0.0, 0.0))
            fading = 1 - 1 / WINDOW
            self._cached[here] = (read * fading + seen.input_tokens, cached * fading + seen.cached_tokens)
            self._recached.add(here)
        if seen.output_tokens is not None:
            self._at("tokens", (seen.agent, seen.step, seen.model)).add(max(seen.output_tokens, 1))

    def _read(self, key: Key, guess: int, billed: int) -> None:
        """How far the guess was from what was billed: first against the factor that was known before, then for the next."""
        tally = self._sizes.setdefault(key, {}).setdefault(size_class(guess), Tally())
        factor = tally.factor
        if factor is not None:
            self._at("read", key).add(billed / (guess * factor))
        tally.add(guess, billed)
        self._resized.add(key)

    def outcome(self, seen: OutcomeSeen) -> None:
        """One outcome of a step came in."""
        self._of((seen.agent, seen.step, seen.model, seen.name)).add(seen.value)

    def forget_outcomes(self, key: Key) -> None:
        """Nothing is known any more of this outcome: (agent, step, model, name)."""
        self._quality.pop(key, None)
        self._judged.pop(key, None)
        self._reported.discard(key)

    def moved(self, place: Key, measure: str, times: float) -> None:
        """A deployment at a step, (agent, step, deployment), takes `times` as long as before; 0: nothing is known of it any more.

        `measure` is ttft or latency. What was seen before counts as if it had taken as long as calls do now, until new calls replace it.
        """
        for kind in (
            ("ttft",) if measure == "ttft" else ("latency", "machine")
        ):  # longer answers are no slower by the token
            for tables in (self._tables[kind], self._older[kind]):
                found = tables.pop(place, None)
                if found is not None and times:
                    tables[place] = found.scaled(times)
            if place in self._tables[kind]:
                self._dirty.add((kind, place))
            else:
                self._dirty.discard((kind, place))
                self._frozen[kind].pop(place, None)
        if measure == "ttft":  # of all steps together: each would move it again
            for whole in (self._tables, self._older, self._frozen):
                whole["place"].pop(place[2:], None)
            self._dirty.discard(("place", place[2:]))

    def _of(self, key: Key) -> Outcomes:
        self._reported.add(key)
        return self._quality.setdefault(key, Outcomes())

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
        for key in self._reported:
            known = self._quality[key]
            self._judged[key] = Outcomes(known.n, known.total, known.squares)
        self._reported.clear()
        for key in self._resized:
            self._readings[key] = _reading(self._sizes[key], self._frozen["read"].get(key))
        self._resized.clear()
        for key in self._recached:
            read, cached = self._cached[key]
            self._shares[key] = min(1.0, cached / read)
        self._recached.clear()
        tables = {kind: dict(table) for kind, table in self._frozen.items()}
        return Snapshot(tables, dict(self._judged), dict(self._shares), dict(self._readings))

    def merge(self, other: "Statistics") -> None:
        """Add what another process has seen."""
        for kind, table in other._tables.items():  # noqa: SLF001 - of our own class
            for key, histogram in table.items():
                self._tables[kind].setdefault(key, Histogram()).merge(histogram)
                self._dirty.add((kind, key))
        for kind, table in other._older.items():  # noqa: SLF001 - of our own class
            for key, histogram in table.items():
                self._older[kind].setdefault(key, Histogram()).merge(histogram)
                self._dirty.add((kind, key))
        for key, outcomes in other._quality.items():  # noqa: SLF001 - of our own class
            self._of(key).merge(outcomes)
        for key, sizes in other._sizes.items():  # noqa: SLF001 - of our own class
            self._resized.add(key)
            for each, tally in sizes.items():
                self._sizes.setdefault(key, {}).setdefault(each, Tally()).merge(tally)
        for key, (read, cached) in other._cached.items():  # noqa: SLF001 - of our own class
            mine = self._cached.get(key, (0.0, 0.0))
            self._cached[key] = (mine[0] + read, mine[1] + cached)
            self._recached.add(key)

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
        out["sizes"] = {
            SEPARATOR.join(key): {str(each): [tally.n, tally.guessed, tally.billed] for each, tally in sizes.items()}
            for key, sizes in self._sizes.items()
        }
        out["cached"] = {SEPARATOR.join(key): list(found) for key, found in self._cached.items()}
        return out

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """The statistics that `to_dict` made plain, by this version or an earlier readable one; another's are not read: nothing is known then."""
        out = cls()
        if found.get("version") not in READABLE:
            return out
        for kind, table in found.get("older", {}).items():
            for key, histogram in table.items():
                out._older[kind][tuple(key.split(SEPARATOR))] = Histogram.from_dict(histogram)
        for kind in KINDS if "sizes" in found else [kind for kind in KINDS if kind != "read"]:
            for key, histogram in found.get(kind, {}).items():
                parts = tuple(key.split(SEPARATOR))
                out._tables[kind][parts] = Histogram.from_dict(histogram)
                out._dirty.add((kind, parts))
        for key, (n, total, squares) in found.get("quality", {}).items():
            out._of(tuple(key.split(SEPARATOR))).merge(Outcomes(int(n), float(total), float(squares)))
        for key, sizes in found.get("sizes", {}).items():
            out._sizes[tuple(key.split(SEPARATOR))] = {
                int(each): Tally(int(n), float(guessed), float(billed)) for each, (n, guessed, billed) in sizes.items()
            }
            out._resized.add(tuple(key.split(SEPARATOR)))
        for key, (read, cached) in found.get("cached", {}).items():
            out._cached[tuple(key.split(SEPARATOR))] = (float(read), float(cached))
            out._recached.add(tuple(key.split(SEPARATOR)))
        return out


def _reading(sizes: Mapping[int, Tally], read: Histogram | None) -> Reading:
    factors = {each: factor for each, tally in sizes.items() if (factor := tally.factor) is not None}
    if read is None or not read.n:
        return Reading(factors)
    return Reading(factors, read.top(left_out(read.n)), read.top())
