"""The door of a deployment: so many calls at once, a short queue before it, and a quick no to who would wait there in vain."""

import asyncio
import contextlib
from collections import deque

from fw_gateway import clock
from fw_gateway.state import Deployment
from fw_gateway.state.limit import Limit

QUEUE = 2
"""Calls that may wait, for each that is let in."""
LONG = 1.0
"""Seconds that a call waits at most; and for which a queue must have been there before it is kept short (as CoDel does)."""
FORESEEN = 0.5
"""Seconds of waiting from which a call is refused when it comes, as far as the pace of those before it tells: a late no helps nobody."""
SHORT = 0.1
"""The same for a queue that does not go away; and seconds of watching a queue that tell its pace."""
OVERDUE = 0.8
"""Seconds of waiting from which the pace was misjudged: then the newest goes first, for its client is the likeliest to be there still."""
MEMORY = 2.0
"""Seconds of queueing by which its pace is known; what is older counts half each time."""
STALE = 5.0
"""Seconds in which nothing was learnt of its pace, after which that is forgotten: else one slow spell would refuse for ever."""


class Gate:
    """Lets calls in. While nobody waits it costs a comparison."""

    def __init__(self, limit: Limit, deployment: Deployment) -> None:
        """`deployment` counts what is under way, and says when something ends."""
        self.limit = limit
        self._busy = deployment.busy
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()
        self._granted = 0
        """Let in, but not under way yet."""
        self._empty = clock.monotonic()
        """When nobody waited last."""
        self._refused = -LONG
        """When a call was refused last although the queue was kept short."""
        self._seconds, self._left = 0.0, 0.0
        """How long there were queues, and how many calls ended meanwhile."""
        self._since = self._known = self._empty
        """Since when what is not counted there yet."""

    async def enter(self, left: float) -> bool:
        """Whether the call may go in, at once or after a short wait; it must begin without waiting for anything else.

        `left`: seconds until its deadline.
        """
        if not self._waiting and self._busy.count + self._granted < self.limit.value:
            return True
        now = clock.monotonic()
        if not self._waiting:
            if now - self._known > STALE:
                self._seconds, self._left = 0.0, 0.0
            self._empty = self._since = now
        pressed = self._pressed(now)
        if len(self._waiting) >= self._room(now, pressed=pressed):
            if pressed:
                self._refused = now
            return False
        return await self._queued(min(left, FORESEEN if pressed else LONG), now)

    def _pressed(self, now: float) -> bool:
        """Whether there has been a queue for so long that it will not go away by itself, or calls are still refused because of one."""
        return now - self._empty > LONG or now - self._refused < LONG

    def _room(self, now: float, *, pressed: bool) -> int:
        """How many may wait now: as many as have their turn in time, and twice the limit at most.

        One is let wait wherever its turn can be foreseen at all: by it the pace stays known.
        """
        most = QUEUE * self.limit.value
        seconds = self._seconds + now - self._since
        if seconds < SHORT:
            return 1 if pressed else most
        pace = (self._left + 1) / seconds
        if pace * FORESEEN < 1:
            return 0
        return min(most, max(1, int(pace * (SHORT if pressed else FORESEEN))))

    async def _queued(self, seconds: float, now: float) -> bool:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (place, now)
        self._waiting.append(entry)
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
                    self._next()  # it has left already: the next one's turn
            with contextlib.suppress(ValueError):
                self._waiting.remove(entry)
            if not self._waiting and self._busy.freed is not None:
                self._over()
        return True

    def _over(self) -> None:
        """Nobody waits any longer."""
        now = clock.monotonic()
        self._count(now)
        self._busy.freed, self._empty = None, now

    def _count(self, now: float) -> None:
        self._seconds += now - self._since
        self._since = self._known = now
        if self._seconds > MEMORY:
            self._left, self._seconds = self._left * MEMORY / self._seconds / 2, MEMORY / 2

    def _freed(self) -> None:
        """Something has ended: the next may go in."""
        self._left += 1
        now = clock.monotonic()
        if now - self._since > MEMORY:
            self._count(now)
        self._next()

    def _next(self) -> None:
        while self._waiting and self._busy.count + self._granted < self.limit.value:
            now = clock.monotonic()
            overdue = self._pressed(now) and now - self._waiting[0][1] > OVERDUE
            place, _ = self._waiting.pop() if overdue else self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                self._granted += 1
