"""The door of a deployment: so many calls at once, a short queue before it, and a quick no beyond that."""

import asyncio
import contextlib
from collections import deque

from fw_gateway import clock
from fw_gateway.state import Deployment
from fw_gateway.state.limit import Limit

QUEUE = 2
"""Calls that may wait, for each that is let in."""
LONG = 1.0
"""Seconds that a call waits at most; and for which a queue must have been there before waiting is cut to SHORT (as CoDel does)."""
SHORT = 0.1


class Gate:
    """Lets calls in. While nobody waits it costs a comparison."""

    def __init__(self, limit: Limit, deployment: Deployment) -> None:
        """`deployment` counts what is under way, and says when something ends."""
        self.limit = limit
        self._busy = deployment.busy
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._granted = 0
        """Let in, but not under way yet."""
        self._empty = clock.monotonic()
        """When nobody waited last."""

    async def enter(self, left: float) -> bool:
        """Whether the call may go in, at once or after a short wait; it must begin without waiting for anything else.

        `left`: seconds until its deadline.
        """
        if not self._waiting and self._busy.count + self._granted < self.limit.value:
            return True
        now = clock.monotonic()
        if not self._waiting:
            self._empty = now
        if len(self._waiting) >= QUEUE * self.limit.value:
            return False
        return await self._queued(min(left, SHORT if self._pressed(now) else LONG))

    def _pressed(self, now: float) -> bool:
        """Whether there has been a queue for so long that it will not go away by itself."""
        return now - self._empty > LONG

    async def _queued(self, seconds: float) -> bool:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._busy.freed = self._freed
        inside = False
        try:
            async with asyncio.timeout(seconds):
                await place
                inside = True
        except TimeoutError:
            return False
        finally:
            if place.done() and not place.cancelled():
                self._granted -= 1
                if not inside:
                    self._freed()  # it has left already: the next one's turn
            with contextlib.suppress(ValueError):
                self._waiting.remove(place)
            if not self._waiting:
                self._busy.freed, self._empty = None, clock.monotonic()
        return True

    def _freed(self) -> None:
        """Something has ended: the next may go in. Under pressure that is the newest: its client is the likeliest to be there still."""
        while self._waiting and self._busy.count + self._granted < self.limit.value:
            place = self._waiting.pop() if self._pressed(clock.monotonic()) else self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                self._granted += 1
