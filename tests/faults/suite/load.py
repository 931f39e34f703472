"""Generators of load: a constant rate whatever the answers do, or as fast as they come; on kept connections."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.faults import raw
from tests.faults.suite.client import Line, Reply


@dataclass(slots=True)
class Loaded:
    """What a load gave: seconds from when each request was *due* (not from when it could be sent), by its outcome."""

    good: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    """Answered with 429 or 503."""
    advised: int = 0
    """Of those, with Retry-After."""
    failed: int = 0
    seconds: float = 0.0

    def note(self, reply: Reply, due: float) -> None:
        """Count an answer."""
        took = reply.ended - due
        if reply.status == 200 and reply.whole:
            self.good.append(took)
        elif reply.status in {429, 503}:
            self.refused.append(took)
            self.advised += "retry-after" in reply.headers
        else:
            self.failed += 1

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.good) / self.seconds if self.seconds else 0.0


class Pool:
    """Kept connections; one is opened when none is idle."""

    def __init__(self, port: int) -> None:
        """Of the server to be asked."""
        self._port = port
        self._idle: list[Line] = []

    async def ask(self, data: bytes, wait: float) -> Reply:
        """One exchange."""
        reply = Reply(began=time.monotonic())
        line = self._idle.pop() if self._idle else Line(self._port)
        try:
            if line.new:
                await line.open()
            line.send(data)
            await line.read(reply, wait=wait)
        except OSError:
            reply.end, reply.ended = raw.RST, time.monotonic()
        if reply.end == raw.QUIET and not reply.overdue and reply.status:
            self._idle.append(line)
        else:
            line.close()
        return reply

    def close(self) -> None:
        """Let go of the idle ones."""
        for line in self._idle:
            line.close()
        self._idle.clear()


async def constant(port: int, make: Callable[[], bytes], rate: float, seconds: float, *, wait: float = 10.0) -> Loaded:
    """Requests at a constant rate, whatever becomes of them."""
    pool, found, work = Pool(port), Loaded(seconds=seconds), []
    began = time.monotonic()

    async def one(due: float) -> None:
        found.note(await pool.ask(make(), wait), due)

    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (ahead := due - time.monotonic()) > 0.0005:
            await asyncio.sleep(ahead)
        work.append(asyncio.create_task(one(due)))
    await asyncio.gather(*work)
    pool.close()
    return found


async def flat_out(port: int, make: Callable[[], bytes], workers: int, seconds: float) -> Loaded:
    """So many workers, each asking again as soon as it is answered."""
    pool, found = Pool(port), Loaded(seconds=seconds)
    end = time.monotonic() + seconds

    async def work() -> None:
        while time.monotonic() < end:
            began = time.monotonic()
            found.note(await pool.ask(make(), 10.0), began)

    await asyncio.gather(*(work() for _ in range(workers)))
    pool.close()
    return found


async def probing(port: int, data: bytes, every: float, times: list[float]) -> None:
    """Ask again and again until cancelled; seconds each answer took (60 when there was none)."""
    with suppress(asyncio.CancelledError):
        while True:
            pool = Pool(port)
            reply = await pool.ask(data, 5.0)
            pool.close()
            times.append(reply.seconds if reply.status == 200 else 60.0)
            await asyncio.sleep(every)
