"""Statistics at one moment: looked up by step and target, turned into estimates when they are asked for, and remembered."""

from collections.abc import Callable, Iterable, Mapping
from operator import is_not
from typing import Any

from fw_policies.estimate import cost
from fw_policies.estimate.at_step import AtStep
from fw_policies.estimate.expected import Kinship, expected, kinship
from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.outcomes import Outcomes
from fw_policies.estimate.prospect import Prospect
from fw_policies.estimate.reading import Reading
from fw_policies.model import Estimates, Facts, MachinePrice, Outlook, Target

PLACES = 4096
"""Steps of which nothing is known that prospects are remembered for; their names come from clients."""
Place = tuple[str, str]
"""Agent and step."""
Kin = dict[tuple[Any, ...], tuple[list[Mapping[tuple[str, str], Outcomes]], Kinship | None]]
"""What agents' steps have in common, with the outcomes that it was made from."""


def left_out(n: int) -> int:
    """Of n calls, how many of the largest sizes are no limit: one in a hundred, for one odd call must not price all others."""
    return n // 100


class Snapshot(Estimates):
    """Statistics, frozen."""

    __slots__ = ("_anywhere", "_kept", "_kin", "_steps", "_unknown")

    def __init__(
        self, steps: Mapping[Place, AtStep], anywhere: Mapping[str, Histogram], kept: Kin | None = None
    ) -> None:
        """None of them is changed any more. `anywhere`: ttft of deployments at all steps. `kept`: what earlier ones found out of agents."""
        super().__init__()
        self._steps = steps
        self._anywhere = anywhere
        self._unknown: dict[Place, AtStep] = {}
        self._kept: Kin = {} if kept is None else kept
        self._kin: dict[tuple[Any, ...], Kinship | None] = {}

    def at(self, facts: Facts) -> AtStep:
        """What was seen at this step."""
        place = (facts.agent, facts.step)
        found = self._steps.get(place) or self._unknown.get(place)
        if found is None:
            if len(self._unknown) >= PLACES:
                self._unknown.clear()
            found = self._unknown[place] = AtStep()
        return found

    def looking(self, facts: Facts, *, outcome: str = "", confidence: float = 0.90) -> Callable[[Target], "Prospect"]:
        """What finds the prospect of each target at this step."""
        here, anywhere = self.at(facts), self._anywhere
        known = here.prospects(outcome, confidence).get

        def found(target: Target) -> Prospect:
            place = target.deployment
            mine = known(place)
            if (
                mine is None
                or mine.target is not target
                or (mine.seen.elsewhere and mine.seen.ttft is not anywhere.get(place))
            ):
                mine = here.prospect(target, outcome, confidence, elsewhere=anywhere.get(place))
            return mine

        return found

    def outlook(self, facts: Facts, target: Target, *, outcome: str = "", confidence: float = 0.90) -> Outlook:
        """What to expect of `target` at this step; parts never observed here are None. Quality is that of `outcome`."""
        return self.looking(facts, outcome=outcome, confidence=confidence)(target).at(facts.input_tokens)

    def histogram(self, measure: str, facts: Facts, target: Target) -> Histogram | None:
        """The distribution behind `ttft`, `latency` or `tpot`; ttft falls back to all steps of the deployment."""
        found = self.at(facts).histogram(measure, target.deployment)
        return self._anywhere.get(target.deployment) if found is None and measure == "ttft" else found

    def cost_percentile(self, facts: Facts, target: Target, share: float, confidence: float) -> float | None:
        """Nano-USD that a call stays below with probability `share`, proven at `confidence`; None while nothing is proven."""
        written, price = self.written(facts, target, share, confidence), target.price
        if written is None or price is None or isinstance(price, MachinePrice):
            return written
        return cost.tokens(self.reading(facts, target.model).most(facts.input_tokens), price.input) + written

    def written(self, facts: Facts, target: Target, share: float, confidence: float) -> float | None:
        """The same but for what is read: for what is written, or for the machine's time."""
        price, here = target.price, self.at(facts)
        if isinstance(price, MachinePrice):
            seconds = here.histogram("machine", target.deployment)
            edge = None if seconds is None else seconds.percentile(share, confidence)
            return None if edge is None else edge * price.hour / cost.HOUR
        used, read = here.histogram("tokens", target.model), here.histogram("read", target.model)
        # The largest sizes seen make a limit that the calls have chosen: it leaves out so many of them (Tukey, 1947, equivalent blocks).
        more = 0 if read is None else left_out(read.n) + 1
        if used is not None and read is not None and 2 * read.n < used.n:
            return None  # they must be of the same calls
        edge = None if used is None else used.percentile(share, confidence, more=more)
        return None if price is None or edge is None else edge * price.output / cost.MILLION

    def reading(self, facts: Facts, model: str) -> Reading:
        """What a request's size comes to when it is billed."""
        return self.at(facts).reading(model)

    def expected(
        self, facts: Facts, models: Iterable[str], *, outcome: str, priors: Mapping[str, float] | None = None
    ) -> dict[str, float | None]:
        """Mean quality to expect of each model at this step, from the agent's other steps and public priors too; None: nothing is known.

        For order, never for proof; the formula is in `fw_policies.estimate.expected`. `priors`: model -> 0..1.
        """
        found, own = self._kinship(facts.agent, outcome, priors or {}), self.at(facts).qualities
        if found is None:
            return dict.fromkeys(models)
        return {model: expected(found, facts.step, model, own.get((model, outcome))) for model in models}

    def _kinship(self, agent: str, outcome: str, priors: Mapping[str, float]) -> Kinship | None:
        which = (agent, outcome, tuple(sorted(priors.items())))
        if which not in self._kin:
            if len(self._kin) >= PLACES:
                self._kin.clear()
            self._kin[which] = self._related(which, priors)
        return self._kin[which]

    def _related(self, which: tuple[Any, ...], priors: Mapping[str, float]) -> Kinship | None:
        """As an earlier snapshot found it, if nothing was reported of the agent since."""
        agent, outcome, _ = which
        mine = [(step, here.qualities) for (name, step), here in self._steps.items() if name == agent]
        grounds, known = [found for _, found in mine], self._kept.get(which)
        if known is None or len(known[0]) != len(grounds) or any(map(is_not, known[0], grounds)):
            cells = {
                (step, model): one for step, found in mine for (model, name), one in found.items() if name == outcome
            }
            if len(self._kept) >= PLACES:
                self._kept.clear()
            known = self._kept[which] = (grounds, kinship(cells, priors))
        return known[1]
