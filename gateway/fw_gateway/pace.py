"""How a stream gets on, and when it has been waited for long enough."""

import asyncio

from fw_gateway import clock
from fw_gateway.exchange import Answer
from fw_gateway.providers.watching import Watcher

TICK = 0.01
"""Seconds before its time at which a timer may ring: an event loop counts in milliseconds, and rounds."""


class Pace:
    """Watches one stream. Pings and comments keep a connection open, not a call: only events that say something are progress.

    One timer for the whole stream: it rings when the limit of a wait may be over, and is set again for what is left if it is not.
    """

    __slots__ = (
        "_answer", "_deadline", "_last", "_progressed", "_seen", "_stall", "_timer", "_waiting", "_watcher", "max_gap",
    )  # fmt: skip

    def __init__(self, answer: Answer, watcher: Watcher, *, stall: float, deadline: float) -> None:
        """From now on. `stall`: seconds without progress; `deadline`: monotonic seconds by which all is over."""
        self._answer, self._watcher = answer, watcher
        self._stall, self._deadline = stall, deadline
        self._last = self._progressed = clock.monotonic()
        self._seen = watcher.chunks
        self._waiting: float | None = None
        """Since when the upstream is waited for; None: the client is."""
        self._timer: asyncio.TimerHandle | None = None
        self.max_gap = 0.0
        """The longest time between two reads, in seconds."""

    def stop(self) -> None:
        """It is over."""
        if self._timer is not None:
            self._timer.cancel()

    async def read(self) -> bytes:
        """The next bytes; empty when there are no more.

        Raises:
            TimeoutError: they did not come in time.
            aiohttp.ClientError, OSError: they will not come.
        """
        if self._answer.ready:
            return self._answer.taken()
        self._waiting = clock.monotonic()
        if self._timer is None:
            self._set(self._left(self._waiting))
        try:
            return await self._answer.some()
        finally:
            self._waiting = None

    def fed(self, data: bytes) -> bytes:
        """Give the watcher a read; what it lets go of."""
        now, watcher = clock.monotonic(), self._watcher
        self.max_gap = max(self.max_gap, now - self._last)
        self._last = now
        out = watcher.feed(data)
        if watcher.chunks != self._seen:
            self._seen, self._progressed = watcher.chunks, now
        return out

    def _left(self, now: float) -> float:
        """Seconds that may be waited for the next bytes. The time that the client took for the last is not the upstream's."""
        waited = now - (now if self._waiting is None else self._waiting)
        return min(self._progressed + self._stall - self._last - waited, self._deadline - now)

    def _set(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._rung)

    def _rung(self) -> None:
        left = self._left(clock.monotonic())
        if self._waiting is not None and left <= TICK:
            self._answer.interrupt(TimeoutError())
        else:
            self._set(max(left, TICK))
