"""What a whole call may take and cost: one answer, or under checks a rejected one and the baseline's after it.

With p the share that may be above a limit and e(t) the proven percentile of target t at 1 − p/k, P(sum > e(1) + … + e(k)) <= p
(Bonferroni), at 1 − δ/k each. Whichever place of the baseline will follow, the worst of them counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from fw_policies.estimate import cost as money
from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.prospect import Prospect
from fw_policies.estimate.reading import UNREAD, Reading
from fw_policies.estimate.snapshot import Snapshot
from fw_policies.model import Known, MachinePrice, Target, TokenPrice
from fw_policies.rules.ask import Ask, kept


def parts(target: Target, ask: Ask) -> int:
    """Answers that a call to `target` may come to: its own, and that of the baseline after it."""
    return 1 if not ask.followers or target.model == ask.policy.baseline else 2


def split(level: float, count: int) -> float:
    """The level of each part of a walk, so that the whole has `level`."""
    return 1 - (1 - level) / count


def after(ask: Ask) -> tuple[object, ...]:
    """What was seen of those that may follow: what is said of a walk follows from it too."""
    found = (ask.looked(one) for one in ask.followers)
    return tuple(known.seen if isinstance(known, Prospect) else known for known in found)


def timed(measure: str, ask: Ask) -> str:
    """What is held back until it is accepted shows its first byte when it is whole."""
    return "latency" if measure == "ttft" and ask.checked else measure


def longest(measure: str, share: float, target: Target, ask: Ask) -> float | None:
    """Seconds that `measure` of the whole walk stays below with probability `share`; None: not proven."""
    count = parts(target, ask)
    own = edge(measure, split(share, count), split(ask.policy.confidence, count), target, ask)
    if count == 1 or own is None:
        return own
    rest = longest_after(measure, share, ask)
    return None if rest is None else own + rest


def longest_after(measure: str, share: float, ask: Ask) -> float | None:
    """The part of it that what follows takes, 0 where nothing does; None: not proven."""

    def found() -> float | None:
        level, sure = split(share, 2), split(ask.policy.confidence, 2)
        edges = [edge(measure, level, sure, one, ask) for one in ask.followers]
        known = [one for one in edges if one is not None]
        return max(known, default=0.0) if len(known) == len(edges) else None

    return kept(ask.memory, ("after", measure, share), (), found) if ask.followers else 0.0


def edge(measure: str, share: float, sure: float, target: Target, ask: Ask) -> float | None:  # noqa: PLR0917 - a place in a walk
    """Seconds that one part of a walk is proven, at confidence `sure`, to stay below."""
    found = observed(measure, target, ask)
    return None if found is None else found.percentile(share, sure)


def observed(measure: str, target: Target, ask: Ask) -> Histogram | None:
    """The times that were seen of a target; None: there are none."""
    estimates = ask.world.estimates
    return estimates.histogram(timed(measure, ask), ask.facts, target) if isinstance(estimates, Snapshot) else None


@dataclass(frozen=True, slots=True)
class Bill:
    """What the cost of one answer is proven to stay below, but for the size of the request."""

    written: float
    """Nano-USD for what is written, or for the machine's time."""
    price: int
    """Of input, in nano-USD per million tokens; 0 for a machine."""
    reading: Reading
    """What a guess of the input comes to."""

    def read(self, size: int) -> int:
        """Nano-USD for the input of a request of this size."""
        return money.tokens(self.reading.most(size), self.price)


def dearest(share: float, target: Target, ask: Ask) -> float | None:
    """Nano-USD that the whole walk stays below with probability `share`; None: not proven."""
    paid = payer(share, ask)(target, ask.looked(target))
    return None if paid is None else bounded(paid, target, ask)


def bounded(paid: float, target: Target, ask: Ask) -> float:
    """What is proven of a cost, or less where the caller limits the output."""
    most = None if ask.facts.max_output_tokens is None else worst_cost(target, ask)
    return paid if most is None else min(paid, most)


def payer(share: float, ask: Ask) -> Callable[[Target, Known], float | None]:
    """What finds the proven percentile of the cost of each walk for one request, not `bounded`."""
    size, bill = ask.facts.input_tokens, biller(share, ask)
    after = [(one.written, one.read(size)) for one in bills_after(share, ask) or ()]

    def found(target: Target, known: Known) -> float | None:
        bills = bill(target, known)
        if bills is None:
            return None
        own, rest = bills
        read = own.read(size)
        if not rest:
            return own.written + read
        return max(own.written + written + (read + more) for written, more in after)

    return found


def room(share: float, limit: float, target: Target, ask: Ask) -> float:
    """Tokens of input up to which the proven percentile of a walk's cost is surely not above a limit; infinite where none is proven."""
    bills = biller(share, ask)(target, ask.looked(target))
    if bills is None:
        return math.inf
    own, rest = bills
    return min(_room(limit, (own, one)) for one in rest) if rest else _room(limit, (own,))


def _room(limit: float, bills: tuple[Bill, ...]) -> float:
    """A token of the guess costs no more than the largest factor makes of it; all is rounded to a whole nano-USD."""
    left = limit - sum(bill.written + 1 for bill in bills)
    each = sum(bill.price * bill.reading.highest for bill in bills) / money.MILLION
    return left / each if each else math.copysign(math.inf, left)


def biller(share: float, ask: Ask) -> Callable[[Target, Known], tuple[Bill, tuple[Bill, ...]] | None]:
    """What finds the bill of a target's own answer, and those of the answers that may follow it; None: one of them is not known."""
    levels = [(split(share, count), split(ask.policy.confidence, count)) for count in (1, 2)]
    after = bills_after(share, ask)

    def found(target: Target, known: Known) -> tuple[Bill, tuple[Bill, ...]] | None:
        count = parts(target, ask)
        level, sure = levels[count - 1]
        own = kept(known.memory, ("bill", level, sure), (), lambda: _bill(level, sure, target, ask))
        rest = after if count > 1 else ()
        return None if own is None or rest is None else (own, rest)

    return found


def bills_after(share: float, ask: Ask) -> tuple[Bill, ...] | None:
    """Of the places of the baseline that may follow; those at one price have the same. None: one of them is not known."""

    def found() -> tuple[Bill, ...] | None:
        level, sure = split(share, 2), split(ask.policy.confidence, 2)
        places = {one.deployment if isinstance(one.price, MachinePrice) else one.price: one for one in ask.followers}
        bills = [_bill(level, sure, one, ask) for one in places.values()]
        known = [one for one in bills if one is not None]
        return tuple(known) if len(known) == len(bills) else None

    return kept(ask.memory, ("bills", share), (), found) if ask.followers else ()


def _bill(level: float, sure: float, target: Target, ask: Ask) -> Bill | None:
    estimates, price = ask.world.estimates, target.price
    written = estimates.written(ask.facts, target, level, sure) if isinstance(estimates, Snapshot) else None
    if written is None or not isinstance(estimates, Snapshot):
        return None
    if not isinstance(price, TokenPrice):
        return Bill(written, 0, UNREAD)
    return Bill(written, price.input, estimates.reading(ask.facts, target.model))


def worst_cost(target: Target, ask: Ask) -> int | None:
    """Nano-USD that the whole walk may cost at most; None: nothing bounds it."""
    own = _most(target, ask)
    if own is None or parts(target, ask) == 1:
        return own
    rest = kept(ask.scratch, "after", (), lambda: _most_after(ask))
    return None if rest is None else own + rest


def _most_after(ask: Ask) -> int | None:
    found = [_most(one, ask) for one in ask.followers]
    known = [one for one in found if one is not None]
    return max(known) if len(known) == len(found) else None


def _most(target: Target, ask: Ask) -> int | None:
    """All of the input uncached, as large as it ever was for its guess, and as much output as it may have."""
    facts, price, estimates = ask.facts, target.price, ask.world.estimates
    limits = [limit for limit in (facts.max_output_tokens, target.max_output) if limit is not None]
    if price is None or isinstance(price, MachinePrice) or not limits:
        return None
    reading = estimates.reading(facts, target.model) if isinstance(estimates, Snapshot) else UNREAD
    read = money.tokens(reading.most(facts.input_tokens, all_calls=True), price.input)
    return read + money.tokens(min(limits), price.output)
