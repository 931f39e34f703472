"""What goes wrong with a whole replica: usually given to a port by a script."""

import asyncio

from tests.faults.upstream.http import whole
from tests.faults.upstream.modes.registry import rows
from tests.faults.upstream.play import Play, Shape

BASE = 0.02
"""Seconds to the first content of a healthy replica, which `slow` multiplies."""


def _slow(play: Play) -> float:
    return BASE * play.wanted.number(10.0)


async def _pressure(play: Play) -> bool:
    """503 when more than k requests are under way."""
    if play.replica.running > play.wanted.number(4):
        await play.send(whole(503, play.error("out of memory", "overloaded_error"), "retry-after: 1"))
        return True
    return await Shape(first=_slow)(play)


async def _slots(play: Play) -> bool:
    """At most k at once, each for so many seconds; the others wait in line, as a real engine has it."""
    replica = play.replica
    if replica.slots is None:
        replica.slots = asyncio.Semaphore(int(play.wanted.number(8)))
    replica.waiting += 1
    try:
        await replica.slots.acquire()
    finally:
        replica.waiting -= 1
    try:
        await play.rest(play.wanted.number(0.2, 1))
        return await Shape()(play)
    finally:
        replica.slots.release()


async def _queue(play: Play) -> bool:
    play.replica.waiting = int(play.wanted.number(10))
    return await Shape()(play)


ROWS = rows(
    "replica",
    {
        "slow": ("answer", Shape(first=_slow), "so many times slower (10) to the first content"),
        "memory_pressure": ("answer", _pressure, "503 when more than k (4) requests are under way"),
        "slots": ("answer", _slots, "k (8) at once, each for so many seconds (0.2); the others wait in line"),
        "queue_depth": ("answer", _queue, "claims n (10) waiting requests in its metrics"),
    },
)
