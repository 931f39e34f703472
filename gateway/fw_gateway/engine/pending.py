"""Answers that wait for the client's own verdict: so many, so many bytes, and none longer than its call's deadline."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fw_gateway.engine.journey import Asking, Journey
from fw_gateway.errors import BadRequest

MOST = 1000
"""Answers that may wait at once; the oldest gives way."""
BYTES = 256 * 2**20
"""Bytes that they may hold together."""


class VerdictGone(BadRequest):
    """Nothing waits for a verdict under that id (any more)."""

    status = 410
    code = "verdict_gone"
    error_type = "410"


class VerdictMismatch(BadRequest):
    """The verdict is about another answer than the one that waits."""

    status = 409
    code = "verdict_mismatch"
    error_type = "409"


@dataclass(slots=True)
class Waiting:
    """One answer that waits."""

    journey: Journey
    asking: Asking
    number: int
    """Of the attempt that gave it."""
    size: int
    timer: asyncio.TimerHandle


class Pending:
    """What waits, by decision id."""

    def __init__(self, unjudged: Callable[[Journey, Asking], None]) -> None:
        """`unjudged` is told of each that nobody judged in time, or that had to give way."""
        self._unjudged = unjudged
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(self, journey: Journey, asking: Asking, *, number: int, size: int) -> None:
        """Begin to wait, until the call's deadline."""
        name = journey.record.call.decision_id
        timer = asyncio.get_running_loop().call_later(max(0.0, journey.left()), self._drop, name)
        self._waiting[name] = Waiting(journey, asking, number, size, timer)
        self._size += size
        while len(self._waiting) > MOST or (self._size > BYTES and len(self._waiting) > 1):
            self._drop(next(iter(self._waiting)))

    def take(self, name: str, number: int | None, key_id: str) -> Waiting:
        """What waits under this id, to be judged now; `number` names its attempt, and the key must be the one that asked.

        Raises:
            VerdictGone: nothing does.
            VerdictMismatch: another attempt's answer does.
        """
        found = self._waiting.get(name)
        if found is None or found.journey.record.call.key_id != key_id:
            hint = "It was judged before, its call's deadline passed, or the gateway was started anew: ask again."
            raise VerdictGone(f"No answer waits for a verdict under `{name[:64]}`.", hint=hint)
        if number is not None and number != found.number:
            raise VerdictMismatch(
                f"Attempt {number} is not the one that waits: that is {found.number}.", param="attempt"
            )
        return self._out(name)

    def close(self) -> None:
        """Stop waiting for anything."""
        while self._waiting:
            self._drop(next(iter(self._waiting)))

    def _out(self, name: str) -> Waiting:
        found = self._waiting.pop(name)
        self._size -= found.size
        found.timer.cancel()
        return found

    def _drop(self, name: str) -> None:
        found = self._out(name)
        self._unjudged(found.journey, found.asking)
