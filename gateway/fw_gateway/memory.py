"""Memory that was freed goes back to the system. glibc keeps it, in pieces between what still lives, and takes more beside it.

After twenty minutes of mixed faults a gateway's heap was 41 MiB, of which 17 were in use, and it grew by 3 MiB in ten minutes though nothing
leaked. Elsewhere than on glibc (musl, macOS, Windows) nothing is done: their allocators give back by themselves, or cannot be told.
"""

import asyncio
import ctypes
from functools import cache

EVERY = 10.0
"""Seconds between two times; one takes a millisecond or two, beside the loop."""
LARGE = 2**17
"""Bytes from which memory is taken from the system, and goes back as soon as it is freed. glibc begins with as much, but raises it to the
size of whatever such piece is freed, up to 32 MiB: then bodies of requests lie among what lives long, and leave holes there."""
_MMAP_THRESHOLD = -3


@cache
def _glibc() -> ctypes.CDLL | None:
    """None: this is another system."""
    try:
        found = ctypes.CDLL(None)
        _ = found.malloc_trim, found.mallopt, found.gnu_get_libc_version
    except (AttributeError, OSError, TypeError):
        return None
    return found


def settle() -> bool:
    """Keep large pieces apart from here on, in the whole process; whether that can be."""
    libc = _glibc()
    return libc is not None and libc.mallopt(_MMAP_THRESHOLD, LARGE) == 1


def give_back() -> bool:
    """Give back what is free, in whole pages; whether there was any. Not for the loop."""
    libc = _glibc()
    return libc is not None and libc.malloc_trim(0) == 1


async def keep_small() -> None:
    """Give back again and again, until cancelled."""
    if not settle():
        return
    while True:
        await asyncio.sleep(EVERY)
        await asyncio.to_thread(give_back)


__all__ = ["give_back", "keep_small", "settle"]
