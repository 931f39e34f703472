"""How late the event loop is: when it cannot keep up, more work would make everything late."""

import asyncio

from fw_gateway import clock

EVERY = 0.1
"""Seconds between two measurements; one costs some microseconds."""


class Lag:
    """Measures from `start` to `stop`."""

    def __init__(self, limit: float) -> None:
        """`limit`: seconds by which a measurement may be late."""
        self._limit = limit
        self._late = False
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.high = False
        """Two measurements in a row were late: one alone may be a single long step, a large body for instance."""

    def start(self) -> None:
        """Begin; needs the running loop."""
        self._due = clock.monotonic() + EVERY
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._measure)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _measure(self) -> None:
        late = clock.monotonic() - self._due > self._limit
        self.high = late and self._late
        self._late = late
        self.start()
