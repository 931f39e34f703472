"""Memory that was freed goes back to the system. glibc keeps it, in pieces between what still lives, and takes more beside it.

After twenty minutes of mixed faults a gateway's heap was 41 MiB, of which 17 were in use, and it still grew though nothing leaked. To read JSON
takes twelve times its length for a moment: for an answer of 1 MiB the heap grew by 12, and what came to lie behind that stayed. Elsewhere
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
APART = 1 << 20
"""Bytes from which a block is mapped by itself, and gone when it is freed. glibc would raise this to the largest block freed so far, up to 32 MiB.
So JSON of 87 kB or more is read: a call with 100 kB takes 0.1 ms longer, with 200 kB 0.2, with 1 MB 0.6."""
TOP = 8 << 20
"""Bytes that may be free at the heap's end: with APART fixed, glibc would give back and take again 128 kB with each body. With twice as many, a
body of 20 MB would take half its size more; with half as many, a request of 500 kB would take a fifth longer.
One of 3 MB takes a third longer as it is."""
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of malloc.h
_log = logging.getLogger("fw.gateway")


@cache
def _libc() -> ctypes.CDLL | None:
    """The C library, if it is glibc; None: this is another system."""
    try:
        found = ctypes.CDLL(None)
        found.malloc_trim.argtypes = [ctypes.c_size_t]
        found.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    except (AttributeError, OSError, TypeError):
        return None
    return found


def keep_apart() -> bool:
    """Large blocks are mapped by themselves from now on, and leave no holes; whether that could be asked for."""
    libc = _libc()
    return libc is not None and bool(libc.mallopt(_TRIM_THRESHOLD, TOP) and libc.mallopt(_MMAP_THRESHOLD, APART))


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


__all__ = ["give_back", "keep_apart", "keep_small"]
