"""Memory that was freed goes back to the system. glibc keeps it, in pieces between what still lives, and takes more beside it.

After twenty minutes of mixed faults a gateway's heap was 41 MiB, of which 17 were in use, and it grew by 3 MiB in ten minutes though nothing
leaked. Elsewhere than on glibc (musl, macOS, Windows) nothing is done: their allocators give back by themselves, or cannot be told.
"""

import asyncio
import ctypes
from collections.abc import Callable
from functools import cache

EVERY = 10.0
"""Seconds between two times; one takes a millisecond or two, beside the loop."""


@cache
def _trim() -> Callable[[int], int] | None:
    """What gives back, in glibc; None: this is another system."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return found


def give_back() -> bool:
    """Give back what is free, in whole pages; whether there was any. Not for the loop."""
    trim = _trim()
    return trim is not None and trim(0) == 1


async def keep_small() -> None:
    """Give back again and again, until cancelled."""
    while _trim() is not None:
        await asyncio.sleep(EVERY)
        await asyncio.to_thread(give_back)


__all__ = ["give_back", "keep_small"]
