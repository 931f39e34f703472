"""What was seen, per step: accumulated as calls end, frozen for decisions, plain for the disk, added up over processes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from fw_policies.estimate.at_step import AtStep, Change
from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.outcomes import Outcomes
from fw_policies.estimate.reading import Reading, Tally, size_class
from fw_policies.estimate.snapshot import Kin, Place, Snapshot, left_out

Key = tuple[str, ...]
SEPARATOR = "\x1f"
VERSION = 4
READABLE = frozenset({2, 3, 4})
KINDS = ("ttft", "latency", "tpot", "tokens", "read", "machine", "place")
"""Histograms: ttft, latency, tpot, machine by (agent, step, deployment); tokens by (agent, step, model); place: ttft by (deployment,).

Read, by (agent, step, model): the input that was billed ÷ what it was taken for once the factor of its size was known (see `reading`).
"""

RECENT = ("ttft", "latency", "tpot", "machine", "place")
"""Those that forget: a deployment that has become slow, or quick again, is judged by its last calls."""
FAILING = ("ttft", "latency", "tpot", "place")
"""Those that a failure counts in: it took longer than anything."""
WINDOW = 256
"""Calls of a part; what counts is the part that is being filled and the one before it: 256 to 512 calls."""
FADING = 1 - 1 / WINDOW


class Observation(NamedTuple):
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


class Here:
    """Where observations of one deployment at one step go until statistics are frozen: keys are made, and histograms found, once for all."""

    __slots__ = ("histograms", "model", "place", "tallies")

    def __init__(self, agent: str, step: str, model: str, deployment: str) -> None:
        """Nothing is found yet."""
        self.place = (agent, step, deployment)
        self.model = (agent, step, model)
        self.histograms: dict[str, Histogram] = {}
        """By kind. Each is marked as changed when it is found, and need not be again; so are the tallies."""
        self.tallies: dict[int, Tally] | None = None

    def key(self, kind: str) -> Key:
        """Of a histogram of this kind."""
        if kind == "place":
            return self.place[2:]
        return self.model if kind in {"tokens", "read"} else self.place


class Statistics:
    """The accumulator. `freeze` for decisions; `to_dict` for the disk; `merge` for a fleet."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._tables: dict[str, dict[Key, Histogram]] = {kind: {} for kind in KINDS}
        self._quality: dict[Key, Outcomes] = {}
        self._older: dict[str, dict[Key, Histogram]] = {kind: {} for kind in RECENT}
        """The part before the one that is being filled."""
        self._sizes: dict[Key, dict[int, Tally]] = {}
        """By (agent, step, model) and size class."""
        self._cached: dict[Key, tuple[float, float]] = {}
        """By (agent, step, deployment): input tokens, and those of them that were read from the provider's cache; the last WINDOW calls or so."""
        self._dirty: dict[tuple[str, Key], None] = {}
        """What changed since it was frozen, by kind (see `_now`), in order."""
        self._filling: dict[Key, Here] = {}
        """By (agent, step, model, deployment), since it was frozen."""
        self._frozen: dict[Place, AtStep] = {}
        self._anywhere: dict[str, Histogram] = {}
        """Of `place`, frozen."""
        self._kin: Kin = {}
        self._last: Snapshot | None = None

    def observe(self, seen: Observation) -> None:
        """One attempt is over."""
        where = (seen.agent, seen.step, seen.model, seen.deployment)
        here, at = self._filling.get(where), self._at
        if here is None:
            here = self._filling[where] = Here(*where)
        if not seen.ok:
            for kind in FAILING:
                at(kind, here).censor()
            return
        ttft, latency, billed = seen.ttft, seen.latency, seen.input_tokens
        if ttft is not None:
            at("ttft", here).add(ttft)
            at("place", here).add(ttft)
        if latency is not None:
            at("latency", here).add(latency)
        tpot = seen.tpot
        if tpot is not None:
            at("tpot", here).add(tpot)
        if seen.machine_seconds is not None:
            at("machine", here).add(seen.machine_seconds)
        if billed and seen.expected_tokens:
            self._read(here, seen.expected_tokens, billed)
        if billed and seen.cached_tokens is not None:
            read, cached = self._cached.get(here.place, (0.0, 0.0))
            self._cached[here.place] = (read * FADING + billed, cached * FADING + seen.cached_tokens)
            self._dirty["cached", here.place] = None
        if seen.output_tokens is not None:
            at("tokens", here).add(max(seen.output_tokens, 1))

    def _read(self, here: Here, guess: int, billed: int) -> None:
        """How far the guess was from what was billed: first against the factor that was known before, then for the next."""
        tallies = here.tallies
        if tallies is None:
            tallies = here.tallies = self._sizes.setdefault(here.model, {})
            self._dirty["reading", here.model] = None
        size = size_class(guess)
        tally = tallies.get(size)
        if tally is None:
            tally = tallies[size] = Tally()
        factor = tally.factor
        if factor is not None:
            self._at("read", here).add(billed / (guess * factor))
        tally.add(guess, billed)

    def outcome(self, seen: OutcomeSeen) -> None:
        """One outcome of a step came in."""
        self._of((seen.agent, seen.step, seen.model, seen.name)).add(seen.value)

    def forget_outcomes(self, key: Key) -> None:
        """Nothing is known any more of this outcome: (agent, step, model, name)."""
        self._quality.pop(key, None)
        self._dirty["quality", key] = None

    def moved(self, place: Key, measure: str, times: float) -> None:
        """A deployment at a step, (agent, step, deployment), takes `times` as long as before; 0: nothing is known of it any more.

        `measure` is ttft or latency. What was seen before counts as if it had taken as long as calls do now, until new calls replace it.
        """
        self._filling.clear()
        for kind in (
            ("ttft",) if measure == "ttft" else ("latency", "machine")
        ):  # longer answers are no slower by the token
            for tables in (self._tables[kind], self._older[kind]):
                found = tables.pop(place, None)
                if found is not None and times:
                    tables[place] = found.scaled(times)
            self._dirty[kind, place] = None
        if measure == "ttft":  # of all steps together: each would move it again
            for whole in (self._tables, self._older):
                whole["place"].pop(place[2:], None)
            self._dirty["place", place[2:]] = None

    def _of(self, key: Key) -> Outcomes:
        self._dirty["quality", key] = None
        return self._quality.setdefault(key, Outcomes())

    def _at(self, kind: str, here: Here) -> Histogram:
        """The histogram that is being filled. One of another deployment may have begun a new part of what they share: this one is full then."""
        found = here.histograms.get(kind)
        if found is None or (found.n + found.beyond >= WINDOW and kind in RECENT):
            found = here.histograms[kind] = self._part(kind, here.key(kind))
        return found

    def _part(self, kind: str, key: Key) -> Histogram:
        self._dirty[kind, key] = None
        table = self._tables[kind]
        found = table.get(key)
        if found is not None and found.total >= WINDOW and kind in self._older:
            self._older[kind][key], found = found, None
        if found is None:
            found = table[key] = Histogram()
        return found

    def _now(self, kind: str, key: Key) -> Any:
        """Everything that counts, a copy; None: nothing does any more. Kinds are those of histograms, and quality, cached and reading."""
        if kind == "quality":
            known = self._quality.get(key)
            return None if known is None else replace(known)
        if kind == "cached":
            read, cached = self._cached[key]
            return min(1.0, cached / read)
        if kind == "reading":
            return _reading(self._sizes[key], self._tables["read"].get(key))
        found = self._tables[kind].get(key)
        out = None if found is None else found.copy()
        older = self._older[kind].get(key) if kind in self._older else None
        if out is not None and older is not None:
            out.merge(older)
        return out

    def steps(self) -> set[tuple[str, str]]:
        """The (agent, step) pairs that something is known of."""
        keys = (*self._tables["latency"], *self._tables["tokens"], *self._quality)
        return {(key[0], key[1]) for key in keys}

    def freeze(self) -> "Snapshot":
        """What is known now, for good; costs by what changed since the last time, and is the same when nothing did."""
        if self._last is not None and not self._dirty:
            return self._last
        for here in self._frozen.values():
            here.aged()
        changes: dict[Place, list[Change]] = {}
        anywhere = dict(self._anywhere)
        for kind, key in self._dirty:
            value = self._now(kind, key)
            if kind != "place":
                changes.setdefault((key[0], key[1]), []).append((kind, key[2] if len(key) == 3 else key[2:], value))
            elif value is None:
                anywhere.pop(key[0], None)
            else:
                anywhere[key[0]] = value
        self._dirty.clear()
        self._filling.clear()
        frozen = dict(self._frozen)
        for place, found in changes.items():
            frozen[place] = frozen.get(place, AtStep()).after(found)
        self._frozen, self._anywhere = frozen, anywhere
        self._last = Snapshot(frozen, anywhere, self._kin)
        return self._last

    def merge(self, other: "Statistics") -> None:
        """Add what another process has seen."""
        for kind, table in other._tables.items():  # noqa: SLF001 - of our own class
            for key, histogram in table.items():
                self._tables[kind].setdefault(key, Histogram()).merge(histogram)
                self._dirty[kind, key] = None
        for kind, table in other._older.items():  # noqa: SLF001 - of our own class
            for key, histogram in table.items():
                self._older[kind].setdefault(key, Histogram()).merge(histogram)
                self._dirty[kind, key] = None
        for key, outcomes in other._quality.items():  # noqa: SLF001 - of our own class
            self._of(key).merge(outcomes)
        for key, sizes in other._sizes.items():  # noqa: SLF001 - of our own class
            self._dirty["reading", key] = None
            for each, tally in sizes.items():
                self._sizes.setdefault(key, {}).setdefault(each, Tally()).merge(tally)
        for key, (read, cached) in other._cached.items():  # noqa: SLF001 - of our own class
            mine = self._cached.get(key, (0.0, 0.0))
            self._cached[key] = (mine[0] + read, mine[1] + cached)
            self._dirty["cached", key] = None

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
                out._dirty[kind, parts] = None
        for key, (n, total, squares) in found.get("quality", {}).items():
            out._of(tuple(key.split(SEPARATOR))).merge(Outcomes(int(n), float(total), float(squares)))
        for key, sizes in found.get("sizes", {}).items():
            out._sizes[tuple(key.split(SEPARATOR))] = {
                int(each): Tally(int(n), float(guessed), float(billed)) for each, (n, guessed, billed) in sizes.items()
            }
            out._dirty["reading", tuple(key.split(SEPARATOR))] = None
        for key, (read, cached) in found.get("cached", {}).items():
            out._cached[tuple(key.split(SEPARATOR))] = (float(read), float(cached))
            out._dirty["cached", tuple(key.split(SEPARATOR))] = None
        return out


def _reading(sizes: Mapping[int, Tally], read: Histogram | None) -> Reading:
    factors = {each: factor for each, tally in sizes.items() if (factor := tally.factor) is not None}
    if read is None or not read.n:
        return Reading(factors)
    return Reading(factors, read.top(left_out(read.n)), read.top())
