"""How far the size of a request is from the input that is billed: sizes are guessed from bytes, and every model counts in its own way.

A chat template, or tools that the provider writes into the prompt, add a constant, so that small requests are further off than large
ones: the factor is kept by the power of two of the guess, as a ratio of sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

SIZES = 64
"""Sizes of requests that findings are remembered for; there are eight per doubling."""
LEAST = 5
"""Calls of a size from which its factor is known."""
FADING = 1 - 1 / 256
"""What a call still counts after the next one."""


def size_class(guess: int) -> int:
    """The power of two that a guess lies under."""
    return (guess if guess > 1 else 1).bit_length()


@dataclass(slots=True)
class Tally:
    """Calls of one size, guessed and billed input; older calls count less and less."""

    n: int = 0
    guessed: float = 0.0
    billed: float = 0.0

    def add(self, guess: int, billed: int) -> None:
        """One call."""
        self.n += 1
        self.guessed = self.guessed * FADING + guess
        self.billed = self.billed * FADING + billed

    def merge(self, other: "Tally") -> None:
        """Another process's calls."""
        self.n += other.n
        self.guessed += other.guessed
        self.billed += other.billed

    @property
    def factor(self) -> float | None:
        """Billed over guessed; None while too few calls tell."""
        return self.billed / self.guessed if self.n >= LEAST and self.guessed else None


@dataclass(frozen=True)
class Reading:
    """The factors of one model at one step, by size class, and how much more it was for the worst of calls."""

    factors: Mapping[int, float] = field(default_factory=dict)
    worst: float = 1.0
    """Billed input over what the factor said, of all calls but one in a hundred."""
    ever: float = 1.0
    """The same of all calls."""

    @cached_property
    def usual(self) -> dict[int, float]:
        """By guess, the input that is expected to be billed for it, of those that were asked: see `expected`."""
        return {}

    @cached_property
    def _largest(self) -> float:
        return max(self.factors.values(), default=1.0)

    @cached_property
    def highest(self) -> float:
        """What no guess, however large, is multiplied by more than in `most`."""
        return self._largest * max(1.0, self.worst)

    def factor(self, guess: int) -> float:
        """What a guess must be multiplied by: that of its size, else of the nearest size that is known, else 1."""
        if not self.factors:
            return 1.0
        wanted = size_class(guess)
        return self.factors[min(self.factors, key=lambda known: (abs(known - wanted), known))]

    def expected(self, guess: int) -> float:
        """The input that is expected to be billed for a guess."""
        found = self.usual.get(guess)
        if found is None:
            if len(self.usual) >= SIZES:
                self.usual.clear()
            found = self.usual[guess] = guess * self.factor(guess)
        return found

    def most(self, guess: int, *, all_calls: bool = False) -> float:
        """The input that a request of this guess was billed at most; a size that was never seen has the largest factor that is known."""
        known = self.factors.get(size_class(guess), self._largest)
        return guess * known * max(1.0, self.ever if all_calls else self.worst)


UNREAD = Reading()
"""While nobody knows."""
