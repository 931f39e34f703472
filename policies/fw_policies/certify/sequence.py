"""Tests in an order fixed beforehand, each at the full level: the first that fails ends it (fixed-sequence testing; Maurer et al., 1995).

Several plans tried and the best taken is how an optimizer deceives itself: a plan is chosen because its luck was good. Here the
order is laid down by data that the tests do not see, from the most cautious plan to the boldest, so that the chance of any
broken promise is at most delta, however many plans there are.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Passed:
    """How far the sequence went."""

    last: int | None
    """Index of the last plan that passed; None: not even the first did."""
    tested: int


def fixed_sequence(plans: Sequence[T], holds: Callable[[T], bool]) -> Passed:
    """Test `plans` in their order until one fails. `holds`: whether a test at level delta rejects that a plan breaks its promise."""
    last: int | None = None
    for index, plan in enumerate(plans):
        if not holds(plan):
            return Passed(last, index + 1)
        last = index
    return Passed(last, len(plans))


def every(tests: Iterable[bool]) -> bool:
    """All of several requirements: each tested at delta, together still at delta (intersection–union; Berger, 1982)."""
    return all(tests)
