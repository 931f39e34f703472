"""Whether a deployment may be tried: a circuit per deployment, its transitions in a table, time an argument."""

from dataclasses import dataclass, field

from fw_policies.model import Exclusion

TRIP = 5
"""Consecutive failures of the deployment itself (never of the request) after which it rests."""
REST = 10.0
"""Seconds of the first rest; each following one is twice as long, up to LONGEST."""
LONGEST = 300.0
CLOSED, OPEN, PROBING = "closed", "open", "probing"

_AFTER = {
    (CLOSED, True): CLOSED,
    (PROBING, True): CLOSED,
    (OPEN, True): OPEN,  # an answer that began before the rest says nothing about now
    (PROBING, False): OPEN,
    (OPEN, False): OPEN,
}
"""(state, succeeded) -> state; a failure while closed counts up to TRIP first."""


@dataclass(slots=True)
class Circuit:
    """One deployment's health. `observe` after each attempt, `blocked` before each decision."""

    state: str = CLOSED
    failures: int = 0
    rests: int = 0
    until: float = 0.0
    limited_until: float = 0.0
    """Until when the provider asked to be left alone (429)."""
    probed: float = 0.0
    """When the newest probe began; while it may still be under way no other call is a probe."""

    def blocked(self, now: float) -> Exclusion:
        """Why it may not be tried now; "" when it may."""
        if now < self.limited_until:
            return "rate_limited"
        if self.state == OPEN:
            if now < self.until:
                return "cooldown"
            self.state = PROBING
        return ""

    def admit(self, now: float) -> bool:
        """Whether a call may be made now: while probing, one at a time."""
        if self.state != PROBING:
            return True
        if self.probed and now - self.probed < REST:
            return False
        self.probed = now
        return True

    def observe(self, *, ok: bool, now: float) -> bool:
        """Take in how an attempt went; whether its state changed."""
        before = self.state
        self.failures = 0 if ok else self.failures + 1
        self.probed = 0.0
        if before == CLOSED and not ok:
            self.state = OPEN if self.failures >= TRIP else CLOSED
        else:
            self.state = _AFTER[before, ok]
        if self.state == OPEN and before != OPEN:
            self.until = max(self.until, now + min(LONGEST, REST * 2**self.rests))
            self.rests += 1
        elif self.state == CLOSED and ok:
            self.rests = 0
        return self.state != before

    def limit(self, seconds: float, now: float) -> None:
        """The provider asked for a pause."""
        self.limited_until = max(self.limited_until, now + seconds)


@dataclass(slots=True)
class Busy:
    """Requests in flight at one deployment, and the machine time they use.

    A machine that serves n requests at once gives each 1/n of itself (processor sharing): with A(t) = ∫ dt/n(t) while n > 0, a
    call uses A(end) − A(start), and the sum over calls is the time the machine was busy.
    """

    count: int = 0
    _share: float = 0.0
    _at: float = 0.0

    def enter(self, now: float) -> float:
        """A request begins; the mark to hand to `leave`."""
        self._advance(now)
        self.count += 1
        return self._share

    def leave(self, mark: float, now: float) -> float:
        """It is over; machine-seconds that were its own."""
        self._advance(now)
        self.count -= 1
        return self._share - mark

    def _advance(self, now: float) -> None:
        if self.count:
            self._share += (now - self._at) / self.count
        self._at = now


@dataclass(slots=True)
class Deployment:
    """What is going on at one deployment."""

    circuit: Circuit = field(default_factory=Circuit)
    busy: Busy = field(default_factory=Busy)
