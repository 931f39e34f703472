"""Whether a deployment may be tried: a circuit per deployment, its transitions in a table, time and randomness arguments."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fw_gateway.state.pace import Pace
from fw_policies.model import Exclusion

TRIP = 5
"""Consecutive failures of the deployment itself (never of the request) after which it rests."""
SHARE = 0.5
"""Share of failures in the last WINDOW seconds from which it rests too, once there are SAMPLES answers."""
SAMPLES = 20
WINDOW = 10
REST = 10.0
"""Seconds of the first rest, give or take JITTER; each following one is twice as long, up to LONGEST."""
LONGEST = 300.0
JITTER = 0.2
HEALED = 2
"""Successes in a row that end a rest."""
SPACING = 1.0
"""Seconds between two probes of one deployment, at least."""
EASING = 10.0
"""Seconds in which a deployment that was out comes back to its full share of calls."""
LEAST = 0.1
"""Share of its calls with which it begins."""
KEY_REST = 60.0
"""Seconds for which a deployment whose key was refused is left alone at first; twice as long each time, up to KEY_LONGEST."""
KEY_LONGEST = 900.0
STRIKES = {401: 1, 402: 1, 403: 3, 429: 1}
"""Status -> refusals in a row after which it is the key that is at fault; 403 may be about one request, 429 is a quota that is used up."""
UNSAID = 1.0
"""Seconds that a 429 closes a deployment for when it does not say for how long."""
CLOSED, OPEN, PROBING = "closed", "open", "probing"

_AFTER = {
    (CLOSED, "good"): CLOSED,
    (CLOSED, "bad"): CLOSED,
    (CLOSED, "tripped"): OPEN,
    (PROBING, "good"): PROBING,
    (PROBING, "healed"): CLOSED,
    (PROBING, "bad"): OPEN,
    (OPEN, "good"): OPEN,
    (OPEN, "healed"): CLOSED,  # it was asked while it rested, because nobody else was left, and answered
    (OPEN, "bad"): OPEN,
}
"""(state, event) -> state."""


@dataclass(slots=True)
class Window:
    """Answers of the last WINDOW seconds, good and bad, in one slot for each second."""

    _slots: list[tuple[int, int, int]] = field(default_factory=lambda: [(-1, 0, 0)] * WINDOW)

    def add(self, *, ok: bool, now: float) -> None:
        """One more answer."""
        second = int(now)
        at, good, bad = self._slots[second % WINDOW]
        if at != second:
            good = bad = 0
        self._slots[second % WINDOW] = (second, good + ok, bad + (not ok))

    def failing(self, now: float) -> bool:
        """Whether enough of enough answers were failures."""
        since = int(now) - WINDOW
        good = sum(slot[1] for slot in self._slots if slot[0] > since)
        bad = sum(slot[2] for slot in self._slots if slot[0] > since)
        return good + bad >= SAMPLES and bad >= SHARE * (good + bad)

    def clear(self) -> None:
        """Begin anew."""
        self._slots = [(-1, 0, 0)] * WINDOW


@dataclass(slots=True)
class Circuit:
    """One deployment's health. `observe` after each attempt, `blocked` before each decision."""

    state: str = CLOSED
    failures: int = 0
    """In a row."""
    healed: int = 0
    """Successes in a row since the rest began."""
    rests: int = 0
    opened: float = 0.0
    until: float = 0.0
    limited_until: float = 0.0
    """Until when the provider asked to be left alone (429)."""
    key_until: float = 0.0
    """Until when its key is not worth another try (401, 402, 403, a quota that is used up)."""
    probed: float | None = None
    """When the newest probe began; while it may still be under way no other call is a probe."""
    probing: bool = False
    """It is still under way, as far as is known."""
    eased: float = -EASING
    """When it came back, or will."""
    strikes: int = 0
    refusals: int = 0
    window: Window = field(default_factory=Window)

    def blocked(self, now: float) -> Exclusion:
        """Why it may not be tried now; "" when it may."""
        if now < self.key_until:
            return "unhealthy"
        if now < self.limited_until:
            return "rate_limited"
        if self.state == OPEN:
            if now < self.until:
                return "cooldown"
            self.state = PROBING
        return ""

    def due(self, now: float) -> bool:
        """Whether it waits to be probed, and may be now."""
        if self.state != PROBING:
            return False
        return self.probed is None or now - self.probed >= (REST if self.probing else SPACING)

    def admit(self, now: float) -> bool:
        """Whether a call may be made now: while probing, one at a time, and one a second."""
        if self.state != PROBING:
            return True
        if not self.due(now):
            return False
        self.probed, self.probing = now, True
        return True

    def observe(self, *, ok: bool, now: float, began: float | None = None, draw: float = 0.5) -> bool:
        """Take in how an attempt went that began at `began` (None: now); whether its state changed. `draw` is from [0, 1)."""
        before = self.state
        self.window.add(ok=ok, now=now)
        if ok and before == CLOSED and not self.failures and not self.rests:  # as nearly always
            self.strikes = self.refusals = 0
            self.probing = False
            return False
        self.failures = 0 if ok else self.failures + 1
        if ok:
            self.strikes = self.refusals = 0
        self.probing = False
        self.state = _AFTER[before, self._event(ok=ok, now=now, began=now if began is None else began)]
        if self.state == OPEN and before != OPEN:
            rest = min(LONGEST, REST * 2.0**self.rests) * (1 - JITTER + 2 * JITTER * draw)
            self.opened, self.until, self.healed = now, max(self.until, now + rest), 0
            self.rests += 1
        elif self.state == CLOSED and before != CLOSED:
            self.eased, self.healed = now, 0
            self.window.clear()
        elif self.state == CLOSED and ok and self.rests and now - self.eased > self.until - self.opened:
            self.rests = 0  # well for longer than it last rested: that outage is over
        return self.state != before

    def _event(self, *, ok: bool, now: float, began: float) -> str:
        if self.state == CLOSED:
            if ok:
                return "good"
            return "tripped" if self.failures >= TRIP or self.window.failing(now) else "bad"
        if not ok:
            self.healed = 0
            return "bad"
        if began < self.opened:
            return "good"  # an answer that began before the rest says nothing about now
        self.healed += 1
        return "healed" if self.healed >= HEALED else "good"

    def limit(self, seconds: float, now: float) -> None:
        """The provider asked for a pause; after it, calls come back little by little."""
        self.limited_until = max(self.limited_until, now + seconds)
        self.eased = max(self.eased, self.limited_until)

    def refused(self, status: int, now: float) -> bool:
        """The provider refused the key with this status; whether it is left alone from here on."""
        self.strikes += 1
        if self.strikes < STRIKES.get(status, 1):
            return False
        self.key_until = max(self.key_until, now + min(KEY_LONGEST, KEY_REST * 2.0**self.refusals))
        self.refusals += 1
        self.strikes = 0
        return True

    def share(self, now: float) -> float:
        """Part of its calls that it should get now, (0, 1]: what was out comes back slowly."""
        since = now - self.eased
        return 1.0 if since >= EASING else max(LEAST, since / EASING)


@dataclass(slots=True)
class Busy:
    """Requests in flight at one deployment, and the machine time they use.

    A machine that serves n requests at once gives each 1/n of itself (processor sharing): with A(t) = ∫ dt/n(t) while n > 0, a
    call uses A(end) − A(start), and the sum over calls is the time the machine was busy.
    """

    count: int = 0
    last: float = float("-inf")
    """When a request began or ended last."""
    freed: Callable[[], None] | None = None
    """Told each time a request is over; None: nobody waits for that."""
    _share: float = 0.0

    def enter(self, now: float) -> float:
        """A request begins; the mark to hand to `leave`."""
        self._advance(now)
        self.count += 1
        return self._share

    def leave(self, mark: float, now: float) -> float:
        """It is over; machine-seconds that were its own."""
        self._advance(now)
        self.count -= 1
        if self.freed is not None:
            self.freed()
        return self._share - mark

    def _advance(self, now: float) -> None:
        if self.count:
            self._share += (now - self.last) / self.count
        self.last = now


@dataclass(slots=True)
class Deployment:
    """What is going on at one deployment."""

    circuit: Circuit = field(default_factory=Circuit)
    busy: Busy = field(default_factory=Busy)
    pace: Pace = field(default_factory=Pace)
