"""The only reader of time, randomness and fresh ids in the SDK."""

import asyncio
import random
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """What the pipeline asks of time and chance; tests bring their own."""

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def draw(self) -> float:
        """Uniform in [0, 1)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class SystemClock:
    """The real thing."""

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def draw(self) -> float:
        """Uniform in [0, 1)."""
        return random.random()  # noqa: S311 - jitter, no secret

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)


SYSTEM: Clock = SystemClock()


def fresh_id(prefix: str) -> str:
    """An id nobody else has, as `prefix-` and 32 hex digits."""
    return f"{prefix}-{uuid.uuid4().hex}"
