"""Work of a thread beside the loop, done in turns.

A thread that computes has the interpreter for up to five milliseconds before it is asked to let go, and the loop needs it several times for each
call. So a turn is short, and between two there is a rest.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
Rest = Callable[[], object]
"""Lets go of the interpreter for a while."""

_PAUSE = 0.00005


def breathe() -> None:
    """The shortest rest in which another thread gets the interpreter."""
    time.sleep(_PAUSE)


def turns(items: Sequence[T], size: int, rest: Rest | None) -> Iterator[Sequence[T]]:
    """Pieces of `size` items, with a rest between two of them; all in one piece where there is no rest."""
    if rest is None:
        yield items
        return
    for first in range(0, len(items), size):
        if first:
            rest()
        yield items[first : first + size]


__all__ = ["Rest", "breathe", "turns"]
