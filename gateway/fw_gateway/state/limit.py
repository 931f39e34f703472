"""How many calls a deployment may have at once: what its config says, found out from below by how quickly it begins to answer."""

from dataclasses import dataclass, field
from statistics import median

START = 32
"""Calls at once that a deployment whose limit is found out begins with."""
LEAST = 4
DOWN = 0.9
"""What a limit is multiplied by when answers begin late."""
LATE = 2.0
"""Times the shortest wait for a first token from which half of the answers are late."""
SPAN = 1.0
"""Seconds over which it is judged, and SAMPLES answers at least."""
SAMPLES = 8
USED = 0.8
"""Part of a limit that must have been in use before it is raised."""
_FORGETS = 1.02
"""What the shortest wait grows by from one judgement to the next: a machine that became slower for good is not held to its past."""


@dataclass(slots=True)
class Limit:
    """AIMD on the time to the first token: doubled until answers are late for the first time, then one up, or a tenth down."""

    most: int
    adaptive: bool = False
    value: int = 0
    """Calls at once that are let in now."""
    least: float = float("inf")
    """The shortest wait for a first token, in seconds."""
    _late: bool = False
    """Answers were late once: from then on it rises one by one."""
    _peak: int = 0
    _since: float | None = None
    _times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin low where it is found out."""
        self.value = min(self.most, START) if self.adaptive else self.most

    def observe(self, seconds: float, now: float, *, count: int, idle: bool = False) -> None:
        """An answer began after so many seconds, while `count` calls were under way. `idle`: the engine itself says that nobody waits."""
        if not self.adaptive:
            return
        self._since = now if self._since is None else self._since
        self._times.append(seconds)
        self._peak = max(self._peak, count)
        if now - self._since >= SPAN and len(self._times) >= SAMPLES:
            self._judge(idle=idle)
            self._since, self._peak = now, 0
            self._times.clear()

    def _judge(self, *, idle: bool) -> None:
        self.least = min(*self._times, self.least * _FORGETS)
        if median(self._times) > LATE * self.least and not idle:
            self._late = True
            self.value = max(min(LEAST, self.most), int(self.value * DOWN))
        elif self._peak >= USED * self.value:
            self.value = min(self.most, self.value + 1 if self._late else 2 * self.value)
