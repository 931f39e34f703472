"""How quickly a deployment begins to answer now: a moving average that jumps to peaks, a rolling percentile, and what its engine says itself."""

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field
from math import ceil, exp

DECAY = 10.0
"""Seconds in which a peak decays to 1/e of itself."""
FRESH = 2.0
"""Seconds for which what an engine said of its queue is believed."""
SEEN = 20
"""Answers from which a percentile is known."""
KEPT = 200
"""Answers that percentiles are taken over."""
_SIZE = 16384
"""Bytes of a request for which as much again is allowed as for an empty one, so that a long prompt does not look like a slow machine."""
_TOKENS = 50
"""The same for tokens of an answer that comes whole."""
_FULL = 0.8
"""Part of the KV cache from which an engine is about to put calls off."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What a serving engine says of itself."""

    at: float
    """Monotonic seconds at which it said so."""
    up: bool = True
    """It answered."""
    running: float = 0.0
    waiting: float = 0.0
    kv: float = 0.0
    """Part of its KV cache that is in use."""
    hits: float = 0.0
    """Tokens found in its prefix cache, of `queries`, since it started."""
    queries: float = 0.0
    mine: int = 0
    """This gateway's own calls there when it said so: they are among those that run or wait."""


@dataclass(slots=True)
class Peak:
    """PeakEWMA: a larger value counts at once, smaller ones little by little, and with nothing new it decays towards 0 (Finagle)."""

    value: float = 0.0
    at: float = 0.0

    def add(self, value: float, now: float) -> None:
        """One more value."""
        weight = exp(-max(0.0, now - self.at) / DECAY)
        self.value = max(value, self.value * weight + value * (1 - weight))
        self.at = now

    def now(self, now: float) -> float:
        """What it stands at; 0: nothing is known (any more)."""
        return self.value * exp(-max(0.0, now - self.at) / DECAY)


@dataclass(slots=True)
class Newest:
    """The newest KEPT values, and, from when somebody asks for it, their order."""

    values: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    _ranked: list[float] | None = None

    def add(self, value: float) -> None:
        """One more; the oldest makes room."""
        if self._ranked is not None:
            if len(self.values) == KEPT:
                del self._ranked[bisect_left(self._ranked, self.values[0])]
            insort(self._ranked, value)
        self.values.append(value)

    def ranked(self) -> list[float]:
        """From the least to the largest."""
        if self._ranked is None:
            self._ranked = sorted(self.values)
        return self._ranked


@dataclass(slots=True)
class Pace:
    """One deployment: time to the first content of streams, and, apart from it, time to whole answers."""

    streamed: Peak = field(default_factory=Peak)
    whole: Peak = field(default_factory=Peak)
    signals: Signals | None = None
    well: bool = True
    """Its server does not say of itself that it cannot serve."""
    _times: dict[bool, Newest] = field(default_factory=lambda: {True: Newest(), False: Newest()})

    def add(self, seconds: float, now: float, *, stream: bool, size: int = 0, tokens: int | None = None) -> None:
        """An answer began (`stream`) or was there whole after so many seconds; `size`: bytes of its request, `tokens`: of the answer."""
        self._times[stream].add(seconds)
        if stream:
            self.streamed.add(seconds / (1 + size / _SIZE), now)
        else:
            self.whole.add(seconds / (1 + size / _SIZE + (tokens or 0) / _TOKENS), now)

    def seconds(self, now: float, *, stream: bool) -> float:
        """What to expect of it now, for an empty request; 0: not known."""
        return (self.streamed if stream else self.whole).now(now)

    def percentile(self, share: float, *, stream: bool) -> float | None:
        """Seconds within which `share` of its newest answers came; None: too few."""
        times = self._times[stream]
        count = len(times.values)
        return times.ranked()[ceil(share * count) - 1] if count >= SEEN else None

    def requests(self, mine: int, now: float) -> float:
        """Calls it has to do: `mine` of this gateway now, and, when its engine said so just now, those of others; those that wait count twice.

        An engine's figure is as old as the look at it, and has this gateway's calls of then in it: a burst that is over since is nobody's load.
        """
        said = self.signals
        if said is None or now - said.at > FRESH or not said.up:
            return float(mine)
        return mine + max(0.0, said.running + said.waiting - said.mine) + said.waiting

    def idle(self, now: float) -> bool:
        """Whether its engine said just now that nobody waits there."""
        said = self.signals
        return said is not None and said.up and now - said.at <= FRESH and said.waiting == 0

    def crowding(self, now: float) -> float:
        """By how much it is slower than its number of calls says, from 1 on: its cache is almost full, or it does not answer at all."""
        said = self.signals
        if said is None or now - said.at > FRESH:
            return 1.0
        return 1 + 15 * max(0.0, said.kv - _FULL) if said.up else 100.0
