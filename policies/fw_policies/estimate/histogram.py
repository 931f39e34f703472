"""A histogram with geometric buckets: adds up over processes, bounds any percentile and the mean without assuming a shape."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from fw_policies.estimate.intervals import lognormal_mean, proven, skewed_mean
from fw_policies.model import Estimate

STEPS = 8
"""Buckets per doubling: an edge is at most 9.1 % above any value of its bucket."""
BEYOND = 1 << 20
"""Bucket of censored values: a failure took longer than anything."""
PLAUSIBLE = 3.0
"""Values whose logarithms are less normal than this are not taken for log-normal."""
NARROW = 0.15
"""Standard deviation of logarithms below which buckets do not show a shape."""
_LEAST = 1e-9
_DOUBLING = math.log(2)
WITHIN = (math.log(2) / STEPS) ** 2 / 12
"""Variance of logarithms within a bucket: what is all in one is not known to be equal."""


class Histogram:
    """Positive values in buckets (2^((i-1)/8), 2^(i/8)], with their sum."""

    __slots__ = ("_memory", "beyond", "counts", "n", "sum")

    def __init__(self) -> None:
        """Empty."""
        self.counts: dict[int, int] = {}
        self.n = 0
        """Values, censored ones not included."""
        self.sum = 0.0
        self.beyond = 0
        """Censored observations: they count as larger than any limit."""
        self._memory: dict[tuple[Any, ...], Any] = {}
        """Answers that hold as long as nothing is added."""

    def add(self, value: float) -> None:
        """One value; what is not positive counts as the smallest bucket's."""
        if not math.isfinite(value):
            return
        if self._memory:
            self._memory.clear()
        self.sum += value
        bucket = math.ceil(math.log(value if value > _LEAST else _LEAST) / _DOUBLING * STEPS - 1e-9)
        counts = self.counts
        counts[bucket] = counts.get(bucket, 0) + 1
        self.n += 1

    def censor(self) -> None:
        """One observation that failed: larger than any limit."""
        self._memory.clear()
        self.beyond += 1

    def merge(self, other: "Histogram") -> None:
        """Add another's values."""
        self._memory.clear()
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.beyond += other.beyond
        self.sum += other.sum
        self.n += other.n

    def scaled(self, times: float) -> "Histogram":
        """A copy with every value multiplied by `times`, to a bucket's width upwards."""
        shift = math.ceil(math.log2(times) * STEPS - 1e-9)
        out = Histogram()
        out.counts = {bucket + shift: count for bucket, count in self.counts.items()}
        out.n, out.sum, out.beyond = self.n, self.sum * 2 ** (shift / STEPS), self.beyond
        return out

    def copy(self) -> "Histogram":
        """An independent copy."""
        out = Histogram()
        out.counts = dict(self.counts)
        out.n, out.sum, out.beyond = self.n, self.sum, self.beyond
        return out

    @property
    def total(self) -> int:
        """All observations, censored ones included."""
        return self.n + self.beyond

    @property
    def mean(self) -> float | None:
        """Of what did not fail; None: nothing did not."""
        return self.sum / self.n if self.n else None

    def above(self, limit: float) -> int:
        """Observations that may be above `limit`: whole buckets that reach beyond it, and all censored ones."""
        asked = ("above", limit)
        found: int | None = self._memory.get(asked)
        if found is None:
            bucket = math.floor(math.log2(max(limit, 1e-9)) * STEPS + 1e-9)
            found = self.beyond + sum(count for index, count in self.counts.items() if index > bucket)
            self._memory[asked] = found
        return found

    def proves(self, limit: float, share: float, confidence: float) -> bool:
        """Whether P(X > limit) <= share is proven."""
        asked = (limit, share, confidence)
        found: bool | None = self._memory.get(asked)
        if found is None:
            found = self._memory[asked] = proven(self.above(limit), self.total, share, confidence)
        return found

    def percentile(self, share: float, confidence: float, *, more: int = 0) -> float | None:
        """The least bucket edge that is proven to be above the percentile; None while nothing is proven.

        `more` calls count as above it besides: those that another limit, chosen from the same calls, may leave out.
        """
        asked = ("percentile", share, confidence, more)
        if asked not in self._memory:
            self._memory[asked] = self._percentile(share, confidence, more)
        found: float | None = self._memory[asked]
        return found

    def top(self, leaving: int = 0) -> float:
        """The least edge that `leaving` values at most are above; 0 while there is none."""
        for bucket in sorted(self.counts, reverse=True):
            leaving -= self.counts[bucket]
            if leaving < 0:
                return 2 ** (bucket / STEPS)
        return 0.0

    def _percentile(self, share: float, confidence: float, more: int) -> float | None:
        edges = sorted(self.counts)
        above = [self.beyond + more] * len(edges)
        for place in range(len(edges) - 2, -1, -1):
            above[place] = above[place + 1] + self.counts[edges[place + 1]]
        total, beyond = self.total, 1 - share
        first = bisect_left(range(len(edges)), True, key=lambda place: proven(above[place], total, beyond, confidence))
        return 2 ** (edges[first] / STEPS) if first < len(edges) else None

    def spread(self, share: float) -> tuple[float, float] | None:
        """Where the next value that does not fail lies with probability `share`; None while n is too small.

        Between the k-th least and the k-th largest of n: for them that is (n + 1 - 2k) / (n + 1), whatever the distribution.
        """
        rank = (1 - share) / 2 * (self.n + 1) + 1e-9
        if rank < 1:
            return None
        return self._at_rank(rank), self._at_rank(self.n + 1 - rank)

    def _at_rank(self, rank: float) -> float:
        """The value of this rank, from 1 to n."""
        below, value = 0, 0.0
        for bucket in sorted(self.counts):
            count = self.counts[bucket]
            value = 2 ** ((bucket - 1 + min(1.0, (rank - below) / (count + 1))) / STEPS)
            if below + count >= rank:
                break
            below += count
        return value

    def estimate(self, confidence: float) -> Estimate | None:
        """Mean of what did not fail with its interval, and the proven 95th percentile of everything."""
        if not self.n:
            return None
        found: Estimate | None = self._memory.get((confidence,))
        if found is None:
            found = self._memory[(confidence,)] = self._estimate(confidence)
        return found

    def _estimate(self, confidence: float) -> Estimate:
        mean = self.sum / self.n
        low, high = self._bounds(mean, confidence)
        return Estimate(mean, min(low, mean), max(high, mean), self.n, confidence, self.percentile(0.95, confidence))

    def _bounds(self, mean: float, confidence: float) -> tuple[float, float]:
        """Of the mean: by the log-normal family where the values look like it, else without any.

        They look like it when their logarithms pass the test of Jarque and Bera (1987); n(g²/6 + k²/24) < PLAUSIBLE. A spread of about a
        bucket's width shows no shape, and then all families agree.
        """
        logs = [((bucket - 0.5) * math.log(2) / STEPS, count) for bucket, count in self.counts.items()]
        centre, second, third, fourth = _moments(logs, self.n)
        if self.n < 2:
            return 0.0, math.inf
        if mean <= 0:
            return 0.0, 0.0
        second = max(second, WITHIN)
        skew, kurtosis = third / second**1.5, fourth / second**2 - 3
        if second < NARROW**2 or self.n * (skew**2 / 6 + kurtosis**2 / 24) < PLAUSIBLE:
            shift = math.log(mean) - math.log(sum(math.exp(log) * count for log, count in logs) / self.n)
            return lognormal_mean(self.n, centre + shift, second * self.n / (self.n - 1), confidence=confidence)
        values = [(math.exp(log), count) for log, count in logs]
        middle, second, third, _ = _moments(values, self.n)
        variance = (mean / middle) ** 2 * second * self.n / (self.n - 1)
        return skewed_mean(self.n, mean, variance, third / second**1.5, confidence=confidence)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        counts = {str(index): count for index, count in self.counts.items()}
        return {"counts": counts, "n": self.n, "sum": self.sum, "beyond": self.beyond}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Histogram":
        """The histogram that `to_dict` made plain."""
        out = cls()
        out.counts = {int(index): int(count) for index, count in found["counts"].items()}
        out.n, out.beyond, out.sum = int(found["n"]), int(found["beyond"]), float(found["sum"])
        return out


def _moments(values: list[tuple[float, int]], n: int) -> tuple[float, float, float, float]:
    """Mean, and the second to fourth central moments, of values with their counts."""
    mean = sum(value * count for value, count in values) / n
    second = third = fourth = 0.0
    for value, count in values:
        off = value - mean
        second += count * off**2
        third += count * off**3
        fourth += count * off**4
    return mean, second / n, third / n, fourth / n
