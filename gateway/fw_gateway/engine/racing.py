"""Attempts that are open beside one another: the first content wins, and the others are ended."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from fw_gateway.attempt import Opened
from fw_gateway.errors import GatewayError
from fw_policies.flow import Failed, Open, Quiet

Opener = Callable[[Open], Awaitable[Opened | Failed | Quiet]]
Found = Opened | Failed | Quiet | GatewayError


class Race:
    """Owns the attempts of one walk that waits for several. Enter it; what is still open when it is left is cancelled, and awaited."""

    def __init__(self, open_: Opener) -> None:
        """`open_` makes an attempt."""
        self._open = open_
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[Found]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *fault: object) -> None:
        for task in self._tasks:
            task.cancel()
        kind, error, trace = fault
        cancelled = isinstance(error, asyncio.CancelledError)
        # Only a cancellation is the group's own business: any other fault goes on as it is when the group has ended.
        try:
            await self._group.__aexit__(*((kind, error, trace) if cancelled else (None, None, None)))  # type: ignore[arg-type]
        finally:
            for task in self._tasks:
                if not task.cancelled() and task.exception() is None:
                    await _discard(task.result())

    async def open(self, ask: Open) -> Opened | Failed | Quiet:
        """Open a target beside what is open already; the first news of any of them, or `Quiet` when `patience` is over.

        Raises:
            GatewayError: the walk is over.
        """
        self._tasks.add(self._group.create_task(self._tried(ask)))
        return await self.news(ask.patience)

    async def news(self, seconds: float | None) -> Opened | Failed | Quiet:
        """The first news of what is open; `Quiet` when there is none within `seconds`. None: wait for as long as it takes.

        Raises:
            GatewayError: the walk is over.
        """
        if not self._tasks:
            return Quiet()
        done, _ = await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        found: Found = Quiet()
        task = next((one for one in done if isinstance(one.result(), Opened)), next(iter(done), None))
        if task is not None:
            self._tasks.discard(task)
            found = task.result()
        if isinstance(found, GatewayError):
            raise found
        return found

    async def _tried(self, ask: Open) -> Found:
        try:
            return await self._open(ask)
        except GatewayError as error:
            return error


async def _discard(found: Found) -> None:
    """An answer that came too late: nobody gets it, and its attempt says so."""
    if not isinstance(found, Opened):
        return
    closer = getattr(found.body, "aclose", None)
    if closer is not None:
        await closer()
    found.attempt.outcome, found.attempt.stream_outcome = "discarded", ""
