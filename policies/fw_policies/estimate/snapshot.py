"""Statistics at one moment: looked up by step and target, turned into estimates when they are asked for, and remembered."""

from collections.abc import Callable, Mapping
from typing import Any

from fw_policies.estimate import cost
from fw_policies.estimate.expected import Kinship, expected, kinship
from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.outcomes import Outcomes
from fw_policies.model import Estimate, Estimates, Facts, MachinePrice, Outlook, Target, TokenPrice

Key = tuple[str, ...]
PLACES = 4096
"""Steps that prospects are remembered for; their names come from clients."""
LEAST = 5
"""Calls from which it is known how far the size of a request is from what is billed."""
SIZES = 512
"""Sizes of requests that a prospect remembers its outlook for; there are eight per doubling."""


class Snapshot(Estimates):
    """Statistics, frozen."""

    __slots__ = ("_cached", "_kin", "_means", "_prospects", "_quality", "_tables")

    def __init__(
        self,
        tables: Mapping[str, Mapping[Key, Histogram]],
        quality: Mapping[Key, Outcomes],
        cached: Mapping[Key, float] | None = None,
    ) -> None:
        """None of them is changed any more. `cached`: the share of input that came from the provider's cache, where it was reported."""
        super().__init__()
        self._tables = tables
        self._cached = cached or {}
        self._quality = quality
        self._means: dict[tuple[Key, float], Estimate | None] = {}
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
                mine = shelf[target.deployment] = Prospect(self, target, place)
            return mine

        return found

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
        # The largest size seen is a limit that the calls have chosen: it leaves out one of them (Tukey, 1947, equivalent blocks).
        edge = None if used is None else used.percentile(share, confidence, more=0 if read is None else 1)
        if price is None or edge is None:
            return None
        size = facts.input_tokens * self.most(of_model)
        return cost.tokens(size, price.input) + edge * price.output / cost.MILLION

    def most(self, key: Key) -> float:
        """The most that a request's size had to be multiplied by, by (agent, step, model): 1 while nobody knows."""
        found = self._tables["read"].get(key)
        return found.top if found is not None and found.n else 1.0

    def factor(self, key: Key) -> float:
        """What a request's size must be multiplied by to get the input that is billed, by (agent, step, model): 1 while nobody knows.

        Sizes are guessed from bytes before a call, and every model counts tokens in its own way.
        """
        found = self._tables["read"].get(key)
        return found.sum / found.n if found is not None and found.n >= LEAST else 1.0

    def cached(self, key: Key) -> float | None:
        """The share of input that came from the provider's cache, by (agent, step, deployment); None: nobody reported any."""
        return self._cached.get(key)

    def known(self, kind: str, key: Key, confidence: float) -> Estimate | None:
        """The estimate of one histogram."""
        found = self._tables[kind].get(key)
        return None if found is None else found.estimate(confidence)

    def seen(self, key: Key) -> int:
        """Answers of (agent, step, deployment) that did not fail."""
        found = self._tables["latency"].get(key)
        return 0 if found is None else found.n

    def spread(self, kind: str, key: Key, share: float) -> tuple[float, float] | None:
        """Where the next value lies with probability `share`."""
        found = self._tables[kind].get(key)
        return None if found is None else found.spread(share)

    def judged(self, key: Key, confidence: float) -> Estimate | None:
        """The estimate of one outcome."""
        asked = (key, confidence)
        if asked not in self._means:
            found = self._quality.get(key)
            self._means[asked] = None if found is None else found.estimate(confidence)
        return self._means[asked]

    def expected(
        self, facts: Facts, model: str, *, outcome: str, priors: Mapping[str, float] | None = None
    ) -> float | None:
        """Mean quality to expect of `model` at this step, from the agent's other steps and public priors too; None: nothing is known.

        For order, never for proof; the formula is in `fw_policies.estimate.expected`. `priors`: model -> 0..1.
        """
        kept = self._kin
        place = (facts.agent, outcome, tuple(sorted((priors or {}).items())))
        if place not in kept:
            cells = {(key[1], key[2]): one for key, one in self._quality.items() if (key[0], key[3]) == place[:2]}
            kept[place] = kinship(cells, priors or {})
        found = kept[place]
        own = self._quality.get((facts.agent, facts.step, model, outcome))
        return None if found is None else expected(found, facts.step, model, own)


class Prospect:
    """What is known of one target at one step; its outlook depends on the size of the request besides."""

    __slots__ = ("_at", "_base", "_place", "_snapshot", "target")

    def __init__(self, snapshot: Snapshot, target: Target, place: tuple[str, str, str, float]) -> None:
        """`place`: agent, step, outcome, confidence."""
        self.target = target
        self._snapshot = snapshot
        self._place = place
        self._base: Outlook | None = None
        self._at: dict[int, Outlook] = {}

    @property
    def base(self) -> Outlook:
        """Everything but what a token price makes of the size; a machine's cost is in it."""
        if self._base is None:
            agent, step, outcome, confidence = self._place
            here, of_model = (agent, step, self.target.deployment), (agent, step, self.target.model)
            look, price = self._snapshot.known, self.target.price
            machine = look("machine", here, confidence) if isinstance(price, MachinePrice) else None
            self._base = Outlook(
                quality=self._snapshot.judged((*of_model, outcome), confidence) if outcome else None,
                ttft=look("ttft", here, confidence) or look("place", (self.target.deployment,), confidence),
                latency=look("latency", here, confidence),
                cost=_scaled(machine, price.hour / cost.HOUR, 0)
                if machine and isinstance(price, MachinePrice)
                else None,
                output_tokens=look("tokens", of_model, confidence),
                tpot=look("tpot", here, confidence),
            )
        return self._base

    @property
    def quality(self) -> Estimate | None:
        """Of the outcome asked for; had without the rest, for it is asked of every target."""
        if self._base is not None:
            return self._base.quality
        agent, step, outcome, confidence = self._place
        return self._snapshot.judged((agent, step, self.target.model, outcome), confidence) if outcome else None

    @property
    def cached(self) -> float | None:
        """The share of input that is expected to come from the provider's cache; None: nobody reported any."""
        agent, step = self._place[:2]
        return self._snapshot.cached((agent, step, self.target.deployment))

    @property
    def answers(self) -> int:
        """Answers seen of the target at the step, whatever came of them."""
        agent, step, _, _ = self._place
        return self._snapshot.seen((agent, step, self.target.deployment))

    def at(self, input_tokens: int) -> Outlook:
        """The outlook for a request of this size."""
        found = self._at.get(input_tokens)
        if found is None:
            if len(self._at) >= SIZES:
                self._at.clear()
            found = self._at[input_tokens] = self._for(input_tokens)
        return found

    def spread(self, input_tokens: int, share: float) -> dict[str, tuple[float, float]]:
        """Where the next call's `latency` (seconds) and `cost` (nano-USD) lie with probability `share`; what is not known yet is left out."""
        agent, step, _, _ = self._place
        here, price = (agent, step, self.target.deployment), self.target.price
        found = {}
        took = self._snapshot.spread("latency", here, share)
        if took is not None:
            found["latency"] = took
        used = self._snapshot.spread("machine", here, share) if isinstance(price, MachinePrice) else None
        if used is not None and isinstance(price, MachinePrice):
            found["cost"] = (used[0] * price.hour / cost.HOUR, used[1] * price.hour / cost.HOUR)
        of_model = (agent, step, self.target.model)
        written, read = (self._snapshot.spread(kind, of_model, share) for kind in ("tokens", "read"))
        if written is not None and isinstance(price, TokenPrice):
            low, high = (
                cost.tokens(input_tokens * size, price.input) + edge * price.output / cost.MILLION
                for size, edge in zip(read or (1.0, 1.0), written, strict=True)
            )
            found["cost"] = (low, high)
        return found

    def _for(self, input_tokens: int) -> Outlook:
        base, price = self.base, self.target.price
        if not isinstance(price, TokenPrice) or base.output_tokens is None:
            return base
        share = self.cached
        agent, step, _, _ = self._place
        size = input_tokens * self._snapshot.factor((agent, step, self.target.model))
        read = cost.tokens(size, price.input)
        if share and price.cached_input is not None:
            read -= round(share * (read - cost.tokens(size, price.cached_input)))
        paid = _scaled(base.output_tokens, price.output / cost.MILLION, read)
        return Outlook(base.quality, base.ttft, base.latency, paid, base.output_tokens, base.tpot)


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
