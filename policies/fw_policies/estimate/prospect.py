"""What is known of one target at one step. It holds the distributions it needs and no more: plans are kept for long, and it with them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fw_policies.estimate import cost
from fw_policies.estimate.histogram import Histogram
from fw_policies.estimate.outcomes import Outcomes
from fw_policies.estimate.reading import SIZES, UNREAD, Reading
from fw_policies.model import Estimate, MachinePrice, Outlook, Target, TokenPrice


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What was seen of a target: of each quantity its distribution, or None. Equal only to itself."""

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
    elsewhere: bool = False
    """Its ttft, known or not, is that of all steps."""


class Prospect:
    """An outlook that is worked out when it is asked for, for a size of request."""

    __slots__ = ("_at", "_base", "_confidence", "_cost", "_quality", "memory", "seen", "target")

    def __init__(self, target: Target, seen: Seen, confidence: float) -> None:
        """`seen` is not changed any more."""
        self.target = target
        self.seen = seen
        self.memory: dict[Any, Any] = {}
        self._confidence = confidence
        self._base: Outlook | None = None
        self._cost: Callable[[int], float | None] | None = None
        self._quality: Estimate | None = None
        self._at: dict[int, Outlook] = {}

    @property
    def quality(self) -> Estimate | None:
        """Of the outcome asked for; had without the rest, for it is asked of every target."""
        if self._quality is None and self.seen.quality is not None:
            self._quality = self.seen.quality.estimate(self._confidence)
        return self._quality

    @property
    def judged(self) -> tuple[float, float] | None:
        """How often quality was reported, and the sum: had without the bounds of `quality`; None: never."""
        seen = self.seen.quality
        return None if seen is None or not seen.n else (seen.n, seen.total)

    @property
    def cached(self) -> float | None:
        """The share of input that is expected to come from the provider's cache; None: nobody reported any."""
        return self.seen.cached

    @property
    def answers(self) -> int:
        """Answers seen of the target at the step, whatever came of them."""
        return 0 if self.seen.latency is None else self.seen.latency.n

    @property
    def base(self) -> Outlook:
        """Everything but what a token price makes of the size; a machine's cost is in it."""
        if self._base is None:
            seen, price = self.seen, self.target.price
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

    def mean(self, measure: str, input_tokens: int) -> float | None:
        """The mean of one measure for a request of this size: that of the outlook, had without the rest."""
        if measure == "cost":
            return (self._cost or self._priced())(input_tokens)
        found = self._behind(measure)
        return None if found is None else found.mean

    def count(self, measure: str) -> float:
        """Observations behind one measure, whatever the size; 0: it is not known."""
        found = self._behind(measure)
        return 0 if found is None else found.n

    def _behind(self, measure: str) -> Histogram | Outcomes | None:
        if measure != "cost":
            return getattr(self.seen, measure)  # type: ignore[no-any-return]
        price = self.target.price
        return None if price is None else self.seen.machine if isinstance(price, MachinePrice) else self.seen.tokens

    def _priced(self) -> Callable[[int], float | None]:
        """What finds the mean cost of a size, made once: it is asked of most targets for most requests."""
        price, used, reading = self.target.price, self._behind("cost"), self.seen.reading
        mean = None if used is None else used.mean
        if price is None or mean is None:
            self._cost = _unknown
        elif isinstance(price, MachinePrice):
            fixed = mean * (price.hour / cost.HOUR)
            self._cost = lambda _: fixed
        elif self.cached and price.cached_input is not None:
            written, known = mean * (price.output / cost.MILLION), price
            self._cost = lambda size: written + self._read(size, known)
        else:
            self._cost = cost.line(mean * (price.output / cost.MILLION), price.input, reading.usual, reading.expected)
        return self._cost

    def _read(self, input_tokens: int, price: TokenPrice) -> int:
        """Nano-USD for the input."""
        seen = self.seen
        size = seen.reading.expected(input_tokens)
        read = cost.tokens(size, price.input)
        if seen.cached and price.cached_input is not None:
            read -= round(seen.cached * (read - cost.tokens(size, price.cached_input)))
        return read

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
        paid = _scaled(base.output_tokens, price.output / cost.MILLION, self._read(input_tokens, price))
        return Outlook(base.quality, base.ttft, base.latency, paid, base.output_tokens, base.tpot)

    def spread(self, input_tokens: int, share: float) -> dict[str, tuple[float, float]]:
        """Where the next call's `latency` (seconds) and `cost` (nano-USD) lie with probability `share`; what is not known yet is left out."""
        seen, price = self.seen, self.target.price
        found = {}
        took = _spread(seen.latency, share)
        if took is not None:
            found["latency"] = took
        used = _spread(seen.machine, share)
        if used is not None and isinstance(price, MachinePrice):
            found["cost"] = (used[0] * price.hour / cost.HOUR, used[1] * price.hour / cost.HOUR)
        written, read = _spread(seen.tokens, share), _spread(seen.read, share)
        if written is not None and isinstance(price, TokenPrice):
            size = seen.reading.expected(input_tokens)
            low, high = (
                cost.tokens(size * by, price.input) + edge * price.output / cost.MILLION
                for by, edge in zip(read or (1.0, 1.0), written, strict=True)
            )
            found["cost"] = (low, high)
        return found


def _unknown(_: int) -> None:
    return None


def _spread(found: Histogram | None, share: float) -> tuple[float, float] | None:
    return None if found is None else found.spread(share)


def _times(value: float, by: float, offset: float) -> float:
    """Nothing times an upper bound that nobody knows is nothing."""
    return value * by + offset if by else offset


def _scaled(estimate: Estimate, by: float, offset: float) -> Estimate:
    mean, low, high = (_times(value, by, offset) for value in (estimate.mean, estimate.low, estimate.high))
    p95 = None if by and estimate.p95 is None else _times(estimate.p95 or 0.0, by, offset)
    return Estimate(mean, low, high, estimate.n, estimate.confidence, p95)
