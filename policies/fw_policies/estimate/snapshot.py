"""Statistics at one moment: looked up by step and target, turned into estimates when they are asked for, and remembered."""

from collections.abc import Callable, Mapping
from typing import Any

from fw_policies.estimate import cost
from fw_policies.estimate.expected import Kinship, expected, kinship
from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.outcomes import Outcomes
from fw_policies.estimate.prospect import Prospect, Seen
from fw_policies.estimate.reading import UNREAD, Reading
from fw_policies.model import Estimates, Facts, MachinePrice, Outlook, Target

Key = tuple[str, ...]
PLACES = 4096
"""Steps that prospects are remembered for; their names come from clients."""


def left_out(n: int) -> int:
    """Of n calls, how many of the largest sizes are no limit: one in a hundred, for one odd call must not price all others."""
    return n // 100


class Snapshot(Estimates):
    """Statistics, frozen."""

    __slots__ = ("_cached", "_kin", "_prospects", "_quality", "_reading", "_tables")

    def __init__(
        self,
        tables: Mapping[str, Mapping[Key, Histogram]],
        quality: Mapping[Key, Outcomes],
        cached: Mapping[Key, float] | None = None,
        reading: Mapping[Key, Reading] | None = None,
    ) -> None:
        """None of them is changed any more. `cached`: the share of input that came from the provider's cache, where it was reported."""
        super().__init__()
        self._tables = tables
        self._cached = cached or {}
        self._reading = reading or {}
        self._quality = quality
        self._kin: dict[tuple[Any, ...], Kinship | None] = {}
        self._prospects: dict[tuple[str, str, str, float], dict[str, Prospect]] = {}

    def looking(self, facts: Facts, *, outcome: str = "", confidence: float = 0.90) -> Callable[[Target], "Prospect"]:
        """What finds the prospect of each target at this step."""
        place = (facts.agent, facts.step, outcome, confidence)
        shelf = self._prospects.get(place)
        if shelf is None:
            if len(self._prospects) >= PLACES:
                self._prospects.clear()
            shelf = self._prospects[place] = {}
        known = shelf.get

        def found(target: Target) -> Prospect:
            mine = known(target.deployment)
            if mine is None or mine.target is not target:
                mine = shelf[target.deployment] = Prospect(target, self._seen(target, facts, outcome), confidence)
            return mine

        return found

    def _seen(self, target: Target, facts: Facts, outcome: str) -> Seen:
        tables, here = self._tables, (facts.agent, facts.step, target.deployment)
        of_model = (facts.agent, facts.step, target.model)
        return Seen(
            self._quality.get((*of_model, outcome)) if outcome else None,
            tables["ttft"].get(here) or tables["place"].get((target.deployment,)),
            tables["latency"].get(here),
            tables["tpot"].get(here),
            tables["tokens"].get(of_model),
            tables["read"].get(of_model),
            self.reading(of_model),
            tables["machine"].get(here),
            self._cached.get(here),
        )

    def outlook(self, facts: Facts, target: Target, *, outcome: str = "", confidence: float = 0.90) -> Outlook:
        """What to expect of `target` at this step; parts never observed here are None. Quality is that of `outcome`."""
        return self.looking(facts, outcome=outcome, confidence=confidence)(target).at(facts.input_tokens)

    def histogram(self, measure: str, facts: Facts, target: Target) -> Histogram | None:
        """The distribution behind `ttft`, `latency` or `tpot`; ttft falls back to all steps of the deployment."""
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
        of_model = (facts.agent, facts.step, target.model)
        used, read = self._tables["tokens"].get(of_model), self._tables["read"].get(of_model)
        # The largest sizes seen make a limit that the calls have chosen: it leaves out so many of them (Tukey, 1947, equivalent blocks).
        more = 0 if read is None else left_out(read.n) + 1
        if used is not None and read is not None and 2 * read.n < used.n:
            return None  # they must be of the same calls
        edge = None if used is None else used.percentile(share, confidence, more=more)
        if price is None or edge is None:
            return None
        return (
            cost.tokens(self.reading(of_model).most(facts.input_tokens), price.input)
            + edge * price.output / cost.MILLION
        )

    def reading(self, key: Key) -> Reading:
        """What a request's size comes to when it is billed, by (agent, step, model)."""
        return self._reading.get(key, UNREAD)

    def expected(
        self, facts: Facts, model: str, *, outcome: str, priors: Mapping[str, float] | None = None
    ) -> float | None:
        """Mean quality to expect of `model` at this step, from the agent's other steps and public priors too; None: nothing is known.

        For order, never for proof; the formula is in `fw_policies.estimate.expected`. `priors`: model -> 0..1.
        """
        kept = self._kin
        place = (facts.agent, outcome, tuple(sorted((priors or {}).items())))
        if place not in kept:
            if len(kept) >= PLACES:
                kept.clear()
            cells = {(key[1], key[2]): one for key, one in self._quality.items() if (key[0], key[3]) == place[:2]}
            kept[place] = kinship(cells, priors or {})
        found = kept[place]
        own = self._quality.get((facts.agent, facts.step, model, outcome))
        return None if found is None else expected(found, facts.step, model, own)
