"""What was reported of answers: counts and sums that add up, and the mean with bounds that hold for any distribution on [0, 1]."""

from dataclasses import dataclass

from fw_policies.estimate.intervals import bounded_mean
from fw_policies.model import Estimate

ACCEPTED = "fw.accepted"
"""The outcome under which statistics keep how often a model's answers pass their step's checks."""


@dataclass(slots=True)
class Outcomes:
    """Count, sum and sum of squares of one outcome's values."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """One value, clipped to [0, 1]."""
        value = min(1.0, max(0.0, value))
        self.n += 1
        self.total += value
        self.squares += value * value

    def merge(self, other: "Outcomes") -> None:
        """Add another's."""
        self.n += other.n
        self.total += other.total
        self.squares += other.squares

    @property
    def mean(self) -> float | None:
        """Of all values; None: there are none."""
        return self.total / self.n if self.n else None

    def estimate(self, confidence: float) -> Estimate | None:
        """The mean with bounds that hold for any distribution on [0, 1]."""
        if not self.n:
            return None
        low, high = bounded_mean(self.n, self.total, self.squares, confidence)
        return Estimate(self.total / self.n, low, high, self.n, confidence)
