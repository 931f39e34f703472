"""What was seen of one agent at one step, frozen, with what was found out about each target there.

A later one takes over what did not change, and the findings about the targets that it is about: a call that ended concerns one model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.outcomes import Outcomes
from fw_policies.estimate.prospect import Prospect, Seen
from fw_policies.estimate.reading import UNREAD, Reading
from fw_policies.model import Target

IDLE = 60
"""Times that statistics are frozen until what was found out at a step that nobody asks for is forgotten."""
KINDS = ("ttft", "latency", "tpot", "machine", "cached", "tokens", "read", "reading", "quality")
"""Tables: ttft, latency, tpot, machine, cached by deployment; tokens, read, reading by model; quality by model and outcome."""

Change = tuple[str, Any, Any]
"""Kind, name and value; None: nothing is known any more."""


class AtStep:
    """Never changed, but for what is remembered."""

    __slots__ = ("_places", "_prospects", "_tables", "idle")

    def __init__(self) -> None:
        """Nothing was seen."""
        self._tables: dict[str, dict[Any, Any]] = {kind: {} for kind in KINDS}
        self._prospects: dict[tuple[str, float], dict[str, Prospect]] = {}
        self._places: dict[str, set[str]] = {}
        """By model, the deployments that there are prospects of."""
        self.idle = 0
        """Times that statistics were frozen since somebody asked."""

    def after(self, changes: Sequence[Change]) -> "AtStep":
        """What is known after these."""
        out = AtStep()
        out._tables, out._places, out.idle = dict(self._tables), self._places, self.idle
        for kind, name, value in changes:
            if out._tables[kind] is self._tables[kind]:
                out._tables[kind] = dict(self._tables[kind])
            if value is None:
                out._tables[kind].pop(name, None)
            else:
                out._tables[kind][name] = value
        seen = {name for kind, name, _ in changes if kind != "quality"}
        judged = {name for kind, name, _ in changes if kind == "quality"}
        for (outcome, confidence), shelf in self._prospects.items():
            names = seen | {model for model, about in judged if about == outcome}
            gone = names.union(*(self._places.get(name, ()) for name in names))
            left = out._prospects[outcome, confidence] = shelf.copy()
            for place in gone & left.keys():
                del left[place]
        return out

    def aged(self) -> None:
        """Once more statistics were frozen."""
        self.idle += 1
        if self.idle > IDLE:
            self._prospects.clear()

    def prospects(self, outcome: str, confidence: float) -> dict[str, Prospect]:
        """What was found out about each deployment, to be filled."""
        self.idle = 0
        found = self._prospects.get((outcome, confidence))
        if found is None:
            found = self._prospects[outcome, confidence] = {}
        return found

    def prospect(self, target: Target, outcome: str, confidence: float, *, elsewhere: Histogram | None) -> Prospect:
        """What is known of a target, made and kept. `elsewhere`: its ttft at all steps, which counts while there is none of this one."""
        self._places.setdefault(target.model, set()).add(target.deployment)
        found = Prospect(target, self._seen(target, outcome, elsewhere), confidence)
        self.prospects(outcome, confidence)[target.deployment] = found
        return found

    def _seen(self, target: Target, outcome: str, elsewhere: Histogram | None) -> Seen:
        tables, place, model = self._tables, target.deployment, target.model
        own: Histogram | None = tables["ttft"].get(place)
        return Seen(
            tables["quality"].get((model, outcome)) if outcome else None,
            own or elsewhere,
            tables["latency"].get(place),
            tables["tpot"].get(place),
            tables["tokens"].get(model),
            tables["read"].get(model),
            self.reading(model),
            tables["machine"].get(place),
            tables["cached"].get(place),
            own is None,
        )

    def histogram(self, kind: str, name: str) -> Histogram | None:
        """The distribution of one kind, by deployment or by model."""
        found: Histogram | None = self._tables[kind].get(name)
        return found

    def reading(self, model: str) -> Reading:
        """What a request's size comes to when it is billed."""
        found: Reading = self._tables["reading"].get(model, UNREAD)
        return found

    @property
    def qualities(self) -> Mapping[tuple[str, str], Outcomes]:
        """By model and outcome; the same object as long as none was reported."""
        return self._tables["quality"]
