"""Whether to make a call again, and after how long. A pure function of what happened, the time that is left, and a die."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

_AGAIN = frozenset((408, 409, 429, 500, 502, 503, 504))
_FIRST = 0.5
"""Seconds: the ceiling of the first wait; it doubles with every attempt."""
_CEILING = 8.0
_PATIENCE = 60.0
"""Seconds: told to wait longer than this, the error is handed to the caller, who knows better."""
_SPREAD = 0.25
"""Up to this much is added to a wait that was asked for, so that all who were told the same do not come back at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt from which nothing was delivered. `status` None: nothing came back."""

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""


def told(headers: Mapping[str, str], wall: float) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds or an HTTP date, against `wall`) asks for; None: nothing readable."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        try:
            seconds = float(text) * scale
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - wall)
    except ValueError:
        return None


def decide(
    attempt: int, outcome: Outcome, *, max_retries: int, remaining: float, wall: float, draw: float
) -> float | None:
    """Seconds to wait before attempt `attempt + 1`, or None: give the failure to the caller.

    `remaining` is what is left of the deadline in seconds, `draw` uniform in [0, 1). Without word from the server the wait is
    full jitter: uniform in [0, min(8, 0.5 · 2^(attempt-1))] (Brooker, "Exponential Backoff And Jitter", AWS 2015).
    """
    if attempt > max_retries:
        return None
    should = outcome.headers.get("x-should-retry", "").lower()
    if should == "false" or (should != "true" and outcome.status is not None and outcome.status not in _AGAIN):
        return None
    asked = told(outcome.headers, wall)
    if asked is None:
        wait = draw * min(_CEILING, _FIRST * 2.0 ** min(attempt - 1, 16))
    elif asked > _PATIENCE:
        return None
    else:
        wait = asked * (1.0 + _SPREAD * draw)
    return wait if wait < remaining else None
