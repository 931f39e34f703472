"""What a whole call may take and cost: one answer, or under checks a rejected one and the baseline's after it.

With p the share that may be above a limit and e(t) the proven percentile of target t at 1 − p/k, P(sum > e(1) + … + e(k)) <= p
(Bonferroni), at 1 − δ/k each. Whichever place of the baseline will follow, the worst of them counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fw_policies.estimate import cost as money
from fw_policies.estimate.reading import Reading
from fw_policies.estimate.snapshot import Snapshot
from fw_policies.model import MachinePrice, Target, TokenPrice
from fw_policies.rules.ask import Ask

Walk = tuple[Target, ...]


def walks(target: Target, ask: Ask) -> tuple[Walk, ...]:
    """The ways that a call to `target` may go: by itself, or with each of the places of the baseline after it."""
    if not ask.followers or target.model == ask.policy.baseline:
        return ((target,),)
    return tuple((target, after) for after in ask.followers)


def split(level: float, walk: Walk) -> float:
    """The level of each part of a walk, so that the whole has `level`."""
    return 1 - (1 - level) / len(walk)


def timed(measure: str, ask: Ask) -> str:
    """What is held back until it is accepted shows its first byte when it is whole."""
    return "latency" if measure == "ttft" and ask.checked else measure


def longest(measure: str, share: float, target: Target, ask: Ask) -> float | None:
    """Seconds that `measure` of the whole walk stays below with probability `share`; None: not proven."""
    return _worst([_seconds(measure, share, walk, ask) for walk in walks(target, ask)])


def _worst(found: list[float | None]) -> float | None:
    known = [one for one in found if one is not None]
    return max(known) if len(known) == len(found) else None


def _seconds(measure: str, share: float, walk: Walk, ask: Ask) -> float | None:
    total = 0.0
    for one in walk:
        edge = second(measure, share, one, walk, ask)
        if edge is None:
            return None
        total += edge
    return total


def second(measure: str, share: float, one: Target, walk: Walk, ask: Ask) -> float | None:  # noqa: PLR0917 - a place in a walk
    """Seconds that one part of a walk is proven to stay below."""
    estimates = ask.world.estimates
    found = estimates.histogram(timed(measure, ask), ask.facts, one) if isinstance(estimates, Snapshot) else None
    return None if found is None else found.percentile(split(share, walk), split(ask.policy.confidence, walk))


def dearest(share: float, target: Target, ask: Ask) -> float | None:
    """Nano-USD that the whole walk stays below with probability `share`; None: not proven."""
    return payer(share, ask)(target)


def payer(share: float, ask: Ask) -> Callable[[Target], float | None]:
    """What finds `dearest` of each target for one request; a limit of the caller's own on the output bounds it besides."""
    known: dict[str, list[_Bill | None]] = ask.memory.setdefault(f"bills {share}", {})
    size, limited = ask.facts.input_tokens, ask.facts.max_output_tokens is not None

    def found(target: Target) -> float | None:
        bills = known.get(target.deployment)
        if bills is None:
            bills = known[target.deployment] = [_bill(share, walk, ask) for walk in walks(target, ask)]
        if len(bills) == 1:
            paid = None if bills[0] is None else bills[0].at(size)
        else:
            paid = _worst([None if bill is None else bill.at(size) for bill in bills])
        most = worst_cost(target, ask) if limited and paid is not None else None
        return paid if paid is None or most is None else min(paid, most)

    return found


@dataclass(frozen=True, slots=True)
class _Bill:
    """What a walk's cost comes to, but for the size of the request."""

    fixed: float
    """Nano-USD for what is written, or for the machine's time."""
    inputs: tuple[tuple[int, Reading], ...]
    """Prices of input, nano-USD per million tokens, each with what a guess comes to there."""

    def at(self, size: int) -> float:
        """Nano-USD for a request of this size."""
        return self.fixed + sum(money.tokens(reading.most(size), price) for price, reading in self.inputs)


def _bill(share: float, walk: Walk, ask: Ask) -> _Bill | None:
    estimates, empty = ask.world.estimates, replace(ask.facts, input_tokens=0)
    if not isinstance(estimates, Snapshot):
        return None
    fixed, inputs = 0.0, []
    for one in walk:
        edge = estimates.cost_percentile(empty, one, split(share, walk), split(ask.policy.confidence, walk))
        if edge is None:
            return None
        fixed += edge
        if isinstance(one.price, TokenPrice):
            inputs.append((one.price.input, estimates.reading((ask.facts.agent, ask.facts.step, one.model))))
    return _Bill(fixed, tuple(inputs))


def worst_cost(target: Target, ask: Ask) -> float | None:
    """Nano-USD that the whole walk may cost at most; None: nothing bounds it."""
    found: list[float | None] = []
    for walk in walks(target, ask):
        costs = [_most(one, ask) for one in walk]
        known = [cost for cost in costs if cost is not None]
        found.append(sum(known) if len(known) == len(costs) else None)
    return _worst(found)


def _most(target: Target, ask: Ask) -> int | None:
    """All of the input uncached, as large as it ever was for its guess, and as much output as it may have."""
    facts, price, estimates = ask.facts, target.price, ask.world.estimates
    limits = [limit for limit in (facts.max_output_tokens, target.max_output) if limit is not None]
    if price is None or isinstance(price, MachinePrice) or not limits:
        return None
    size: float = facts.input_tokens
    if isinstance(estimates, Snapshot):
        size = estimates.reading((facts.agent, facts.step, target.model)).most(facts.input_tokens, all_calls=True)
    return money.tokens(size, price.input) + money.tokens(min(limits), price.output)
