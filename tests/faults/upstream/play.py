"""How a mode is played: an answer, its events, their bytes, the segments and pauses they go out in, and how it all ends."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.faults.upstream.answers import Answer, Event
from tests.faults.upstream.http import LAST_CHUNK, Request, chunk, dumped, head, whole
from tests.faults.upstream.naming import Wanted
from tests.faults.upstream.peer import Gone, Peer
from tests.faults.upstream.protocols import Protocol
from tests.faults.upstream.record import Attempt

PROFILES = {
    "fast": {"silent": 20.0, "stall": 20.0, "ttft": 0.3, "gap": 0.02, "drip": 0.005, "ping": 0.2, "step": 0.002},
    "full": {"silent": 130.0, "stall": 120.0, "ttft": 5.0, "gap": 0.1, "drip": 0.05, "ping": 5.0, "step": 0.02},
}
"""Seconds of each kind of waiting, by time profile."""


@dataclass(slots=True)
class Replica:
    """What is going on at one port."""

    index: int
    running: int = 0
    waiting: int = 0
    queries: int = 0
    wanted: Wanted | None = None
    """What the whole port plays, whatever a request asks for."""
    slots: asyncio.Semaphore | None = None
    """What it can do at once, when a mode says so."""


@dataclass(slots=True)
class Play:
    """One request being answered."""

    peer: Peer
    request: Request
    protocol: Protocol
    wanted: Wanted
    attempt: Attempt
    replica: Replica
    times: dict[str, float]
    rng: random.Random
    thief: str
    """Address of the port that must never be contacted."""
    before: int = 0
    """Bytes that its connection had sent before."""
    tries: int = 1
    """How many attempts with this nonce there have been, this one included."""
    answer: Answer = field(default_factory=lambda: Answer("fx"))

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return bool(self.request.fields.get("stream"))

    @property
    def options(self) -> dict[str, Any]:
        """`stream_options` of the request."""
        found = self.request.fields.get("stream_options")
        return found if isinstance(found, dict) else {}

    def seconds(self, kind: str, place: int = 0) -> float:
        """The argument in seconds, or what the time profile says."""
        return self.wanted.number(self.times[kind], place)

    def error(self, message: str, kind: str = "server_error", code: str | None = None) -> bytes:
        """An error body of the protocol."""
        return dumped(self.protocol.error(message, kind, code))

    async def send(self, data: bytes) -> None:
        """Write and count."""
        if self.attempt.t_first_byte is None and data:
            self.attempt.t_first_byte = time.monotonic()
        await self.peer.send(data)
        self.attempt.t_last_byte = time.monotonic()
        self.attempt.bytes_sent = self.peer.sent - self.before

    async def rest(self, seconds: float) -> None:
        """Do nothing for a while; a peer that leaves ends it.

        Raises:
            Gone: it left.
        """
        if seconds > 0 and await self.peer.gone(seconds):
            raise Gone


Ending = Callable[[Play], Awaitable[bool]]
"""Ends an exchange; whether the connection may be used again."""


def render(event: Event) -> bytes:
    """An event as most servers write it."""
    data = event.data if isinstance(event.data, str) else dumped(event.data).decode()
    name = f"event: {event.name}\n" if event.name else ""
    return f"{name}data: {data}\n\n".encode()


async def well(play: Play) -> bool:
    """The good end of a chunked body."""
    await play.send(LAST_CHUNK)
    return True


@dataclass(frozen=True, slots=True)
class Shape:
    """A way to say the answer, as a row: what is changed at each stage. Nothing said is as usual."""

    answer: Callable[[Answer, Play], Answer] | None = None
    events: Callable[[list[Event], Play], list[Event]] | None = None
    render: Callable[[Event], bytes] = render
    segments: Callable[[bytes, Play], Iterator[bytes]] | None = None
    """Cuts one event's bytes (chunk framing included) into what is sent at once."""
    first: Callable[[Play], float] | None = None
    """Seconds before the first content."""
    gap: Callable[[Play], float] | None = None
    """Seconds before each event after the first."""
    stop: Callable[[Play, list[Event]], int] | None = None
    """Index of the first event that is not sent; then `ending` follows."""
    ending: Ending = well
    framing: str = "chunked"
    """`chunked`, or `close`: the body ends with the connection."""
    joined: bool = False
    """All events in one segment."""
    headers: tuple[str, ...] = ()

    async def __call__(self, play: Play) -> bool:
        """Play it; whether the connection may be used again."""
        if self.answer is not None:
            play.answer = self.answer(play.answer, play)
        return await (self._stream(play) if play.stream else self._whole(play))

    async def _whole(self, play: Play) -> bool:
        body = dumped(play.protocol.whole(play.answer))
        data = whole(200, body, *self.headers)
        if self.first is not None:
            await play.rest(self.first(play))
        if self.stop is not None:
            await play.send(data[: len(data) - len(body) // 2])
            return await self.ending(play)
        gap = self.gap(play) * len(play.answer.tokens) if self.gap is not None else 0.0
        await play.rest(min(gap, 30.0))
        counted(play, play.answer.counted(), len(play.answer.tokens))
        for piece in [data] if self.segments is None else self.segments(data, play):
            await play.send(piece)
        return True

    async def _stream(self, play: Play) -> bool:
        asked = bool(play.options.get("include_usage"))
        events = play.protocol.events(play.answer, asked)
        if play.options.get("continuous_usage_stats"):
            events = continuous(events, play)
        if self.events is not None:
            events = self.events(events, play)
        stop = len(events) if self.stop is None else max(0, min(self.stop(play, events), len(events)))
        lines = ["content-type: text/event-stream", "cache-control: no-cache", *self.headers]
        lines.append("connection: close" if self.framing == "close" else "transfer-encoding: chunked")
        await play.send(head(200, *lines))
        await self._events(play, events[:stop])
        return await self.ending(play)

    async def _events(self, play: Play, events: list[Event]) -> None:
        held: list[bytes] = []
        began = False
        for number, event in enumerate(events):
            if event.kind == "content" and not began:
                began = True
                if self.first is not None:
                    await play.rest(self.first(play))
            elif self.gap is not None and number:
                await play.rest(self.gap(play))
            data = self.render(event)
            data = data if self.framing == "close" or not data else chunk(data)
            if self.joined:
                held.append(data)
            else:
                for piece in [data] if self.segments is None else self.segments(data, play):
                    await play.send(piece)
            play.attempt.events.append(time.monotonic())
            counted(play, event.usage, play.attempt.tokens + (event.kind == "content"))
        if held:
            await play.send(b"".join(held))


def counted(play: Play, usage: Any, tokens: int) -> None:
    """Write down what was emitted."""
    play.attempt.tokens = tokens
    if usage is not None:
        play.attempt.usage = usage


def continuous(events: list[Event], play: Play) -> list[Event]:
    """Usage so far in every chunk, as vLLM does on request."""
    found, sent = [], 0
    for event in events:
        sent += event.kind == "content"
        if isinstance(event.data, dict) and event.data.get("choices"):
            usage = play.answer.counted(sent)
            found.append(event.with_data({**event.data, "usage": usage}, usage=usage))
        else:
            found.append(event)
    return found


async def nap(seconds: float) -> None:
    """Wait without looking at the peer."""
    await asyncio.sleep(seconds)
