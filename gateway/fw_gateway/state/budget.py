"""What may be tried again, when, and how often: retry budgets and waits, with time and randomness as arguments."""

from dataclasses import dataclass

EARNED = 0.2
"""Tokens that each first attempt at a group of deployments brings it: one more try for every five calls."""
FLOOR = 3.0
"""Tokens that come by themselves in a second, so that a quiet group may be retried at all."""
MOST = 10.0
"""Tokens kept at most."""
HEDGES_FROM = MOST / 2
"""Tokens from which a second request beside a slow one is allowed: what is scarce is kept for what has failed."""
HEDGED = 0.05
"""Share of the calls of a group that may be hedged."""
_SAVED = 2.0
"""Hedges that may be saved up while none is needed."""
_DUST = 1e-9
"""What sums of fifths are short of a whole by."""

BASE = 0.1
"""Seconds of the first wait before the same deployment again, at most; each following one is twice as long, up to CAP."""
CAP = 2.0
PATIENCE = 10.0
"""Seconds that a provider's Retry-After is waited for at most, and never more than half of what is left."""
_BEHIND = 0.2
"""Part of a Retry-After by which it may be exceeded, so that not all who were told the same come back at once."""


@dataclass(slots=True)
class RetryBudget:
    """The budget of one group of deployments that fail together: another try there costs a token, first attempts earn them.

    When everything fails, the group sees at most 1 + EARNED attempts for each call, and FLOOR more in a second (the token bucket
    of Finagle and gRPC's retry throttling).
    """

    tokens: float = MOST
    saved: float = 0.0
    """Hedges that the share allows now."""
    _at: float = 0.0

    def earn(self, now: float) -> None:
        """A call makes its first attempt here."""
        self._refill(now)
        self.tokens = min(MOST, self.tokens + EARNED)
        self.saved = min(_SAVED, self.saved + HEDGED)

    def spend(self, now: float) -> bool:
        """Take a token for a retry or a fallback; whether there was one."""
        self._refill(now)
        if self.tokens < 1 - _DUST:
            return False
        self.tokens -= 1
        return True

    def hedge(self, now: float) -> bool:
        """Take a token for a second request beside one that has not failed; whether that is allowed now."""
        self._refill(now)
        if self.tokens < HEDGES_FROM or self.saved < 1 - _DUST:
            return False
        self.tokens -= 1
        self.saved -= 1
        return True

    def _refill(self, now: float) -> None:
        self.tokens = min(MOST, self.tokens + max(0.0, now - self._at) * FLOOR)
        self._at = now


def backoff(retry: int, draw: float) -> float:
    """Seconds before the `retry`-th (from 0) try of the same deployment: full jitter (Brooker, 2015); `draw` is from [0, 1)."""
    return draw * min(CAP, BASE * 2.0**retry)


def told(retry_after: float, left: float, draw: float) -> float | None:
    """Seconds to wait for a provider that said `retry_after`: that, and up to a fifth more; None: too long to wait for.

    `left`: seconds until the call's deadline.
    """
    if retry_after > min(PATIENCE, left / 2):
        return None
    return retry_after * (1 + _BEHIND * draw)
