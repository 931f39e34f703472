"""Memory that was freed goes back to the system. glibc keeps it, in pieces between what still lives, and takes more beside it.

After twenty minutes of mixed faults a gateway's heap was 41 MiB, of which 17 were in use, and it still grew though nothing leaked. Elsewhere
than on glibc (musl, macOS, Windows) nothing is done: their allocators give back by themselves, or cannot be told.
"""

import asyncio
import ctypes
import logging
from functools import cache

from fw_gateway import clock

EVERY = 10.0
"""Seconds between two times, at least."""
SHARE = 2_000
"""Parts of the time of which one may be spent so: it takes 8 ms for a heap of 60 MiB, and the loop, which allocates meanwhile, waits for two
of them; for one of 400 MiB it is ten times as much."""
_log = logging.getLogger("fw.gateway")


@cache
def _libc() -> ctypes.CDLL | None:
    """The C library, if it is glibc; None: this is another system."""
    try:
        found = ctypes.CDLL(None)
        found.malloc_trim.argtypes = [ctypes.c_size_t]
    except (AttributeError, OSError, TypeError):
        return None
    return found


def give_back() -> float:
    """Give back what is free, in whole pages; seconds that it took. Not for the loop."""
    libc, began = _libc(), clock.monotonic()
    if libc is not None:
        libc.malloc_trim(0)
    return clock.monotonic() - began


async def keep_small(every: float = EVERY) -> None:
    """Give back again and again, until cancelled; what keeps it from doing so is logged, and no reason to end."""
    took = 0.0
    while _libc() is not None:
        await asyncio.sleep(max(every, SHARE * took))
        try:
            took = await asyncio.to_thread(give_back)
        except RuntimeError as fault:  # there can be no more threads now
            _log.warning("freed memory was not given back: %s", fault)


__all__ = ["give_back", "keep_small"]
