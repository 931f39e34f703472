"""What is known of one target at one step. It holds the distributions it needs and no more: plans are kept for long, and it with them."""

from dataclasses import dataclass

from fw_policies.estimate import cost
from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.outcomes import Outcomes
from fw_policies.estimate.reading import UNREAD, Reading
from fw_policies.model import Estimate, MachinePrice, Outlook, Target, TokenPrice

SIZES = 64
"""Sizes of requests that a prospect remembers its outlook for; there are eight per doubling."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a target: of each quantity its distribution, or None."""

    quality: Outcomes | None = None
    ttft: Histogram | None = None
    """At this step; else at all steps of the deployment."""
    latency: Histogram | None = None
    tpot: Histogram | None = None
    tokens: Histogram | None = None
    read: Histogram | None = None
    """Billed input ÷ what its guess was taken for."""
    reading: Reading = UNREAD
    machine: Histogram | None = None
    cached: float | None = None
    """Share of input that came from the provider's cache."""


class Prospect:
    """An outlook that is worked out when it is asked for, for a size of request."""

    __slots__ = ("_at", "_base", "_confidence", "_quality", "_seen", "target")

    def __init__(self, target: Target, seen: Seen, confidence: float) -> None:
        """`seen` is not changed any more."""
        self.target = target
        self._seen = seen
        self._confidence = confidence
        self._base: Outlook | None = None
        self._quality: Estimate | None = None
        self._at: dict[int, Outlook] = {}

    @property
    def quality(self) -> Estimate | None:
        """Of the outcome asked for; had without the rest, for it is asked of every target."""
        if self._quality is None and self._seen.quality is not None:
            self._quality = self._seen.quality.estimate(self._confidence)
        return self._quality

    @property
    def cached(self) -> float | None:
        """The share of input that is expected to come from the provider's cache; None: nobody reported any."""
        return self._seen.cached

    @property
    def answers(self) -> int:
        """Answers seen of the target at the step, whatever came of them."""
        return 0 if self._seen.latency is None else self._seen.latency.n

    @property
    def base(self) -> Outlook:
        """Everything but what a token price makes of the size; a machine's cost is in it."""
        if self._base is None:
            seen, price = self._seen, self.target.price
            machine = self._known(seen.machine) if isinstance(price, MachinePrice) else None
            hosted = machine is not None and isinstance(price, MachinePrice)
            self._base = Outlook(
                quality=self.quality,
                ttft=self._known(seen.ttft),
                latency=self._known(seen.latency),
                cost=_scaled(machine, price.hour / cost.HOUR, 0) if hosted else None,  # type: ignore[arg-type,union-attr]
                output_tokens=self._known(seen.tokens),
                tpot=self._known(seen.tpot),
            )
        return self._base

    def _known(self, found: Histogram | None) -> Estimate | None:
        return None if found is None else found.estimate(self._confidence)

    def at(self, input_tokens: int) -> Outlook:
        """The outlook for a request of this size."""
        found = self._at.get(input_tokens)
        if found is None:
            if len(self._at) >= SIZES:
                self._at.clear()
            found = self._at[input_tokens] = self._for(input_tokens)
        return found

    def _for(self, input_tokens: int) -> Outlook:
        base, price = self.base, self.target.price
        if not isinstance(price, TokenPrice) or base.output_tokens is None:
            return base
        size = input_tokens * self._seen.reading.factor(input_tokens)
        read = cost.tokens(size, price.input)
        if self.cached and price.cached_input is not None:
            read -= round(self.cached * (read - cost.tokens(size, price.cached_input)))
        paid = _scaled(base.output_tokens, price.output / cost.MILLION, read)
        return Outlook(base.quality, base.ttft, base.latency, paid, base.output_tokens, base.tpot)

    def spread(self, input_tokens: int, share: float) -> dict[str, tuple[float, float]]:
        """Where the next call's `latency` (seconds) and `cost` (nano-USD) lie with probability `share`; what is not known yet is left out."""
        seen, price = self._seen, self.target.price
        found = {}
        took = _spread(seen.latency, share)
        if took is not None:
            found["latency"] = took
        used = _spread(seen.machine, share)
        if used is not None and isinstance(price, MachinePrice):
            found["cost"] = (used[0] * price.hour / cost.HOUR, used[1] * price.hour / cost.HOUR)
        written, read = _spread(seen.tokens, share), _spread(seen.read, share)
        if written is not None and isinstance(price, TokenPrice):
            size = input_tokens * seen.reading.factor(input_tokens)
            low, high = (
                cost.tokens(size * by, price.input) + edge * price.output / cost.MILLION
                for by, edge in zip(read or (1.0, 1.0), written, strict=True)
            )
            found["cost"] = (low, high)
        return found


def _spread(found: Histogram | None, share: float) -> tuple[float, float] | None:
    return None if found is None else found.spread(share)


def _scaled(estimate: Estimate, by: float, offset: float) -> Estimate:
    if not by:  # nothing times an upper bound that nobody knows is nothing
        return Estimate(offset, offset, offset, estimate.n, estimate.confidence, offset)
    p95 = None if estimate.p95 is None else estimate.p95 * by + offset
    return Estimate(
        estimate.mean * by + offset,
        estimate.low * by + offset,
        estimate.high * by + offset,
        estimate.n,
        estimate.confidence,
        p95,
    )
