"""A stream of server-sent events, watched while it is relayed as bytes: what may go on, whether it ended well, what it cost. Pure.

Each dialect says what its events mean; framing, the head that is held back and the terminator that is kept apart are the same for all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import orjson

from fw_gateway.providers.likeness import Likeness
from fw_gateway.providers.sse import BOUNDARY, MAX_EVENT, fields_of
from fw_gateway.values import Usage

MAX_HEAD: Final = 16 * 2**10
"""Bytes held back while no content has come; then the stream is committed as it is."""

_COMMENTS = re.compile(rb"(?:\A|(?<=\n\n)):[^\n]*\n(?::[^\n]*\n)*\n")
"""An event of comments alone: it keeps a connection open and says nothing."""


@dataclass(slots=True)
class Answer:
    """What must be known of a whole answer."""

    id: str = ""
    model: str = ""
    usage: Usage | None = None
    finish_reasons: tuple[str, ...] = ()
    problem: str = ""
    """Why it is no answer; empty when it is one."""


class Watcher:
    """Watches one stream.

    `feed` takes what was read and returns what may go to the client now. Nothing goes before the first content; at most one
    incomplete event is held after it. The terminator never comes out of `feed`: it is for the end, when all is known.
    """

    __slots__ = (
        "_ended", "_head", "_keen", "_likeness", "_rest", "chunks", "error", "id", "model", "problem", "started", "terminator", "usage",
    )  # fmt: skip

    MARKED: ClassVar[bool] = True
    """A stream is whole only by its own marker; False: also when it ends as a connection should."""
    INTEREST: ClassVar[tuple[bytes | re.Pattern[bytes], ...]]
    """What makes an event worth reading after the first content; all others are relayed unread. A pattern begins with literal bytes:
    so it is looked for ten times as fast as one that begins with a choice."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._rest = b""
        self._head: list[bytes] = []
        self._ended = False
        self._keen = False
        """Whole events that say nothing of interest have been passed over: the one that is looked at is of interest."""
        self._likeness = Likeness()
        self.started = False
        """The first content has come; from here on the stream is the client's."""
        self.chunks = 0
        """Events with data, of those that mean progress."""
        self.id = ""
        self.model = ""
        self.usage: Usage | None = None
        self.error: Mapping[str, Any] | None = None
        """The upstream's own error, in OpenAI's shape, if it sent one in band."""
        self.problem = ""
        """Why this is no stream at all."""
        self.terminator = b""
        """The upstream's own last event, to be sent when all else has been; empty: it sent none."""

    @property
    def complete(self) -> bool:
        """The answer is whole: its semantic terminal marker was seen."""
        return self._ended

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each choice finished."""
        return ()

    @property
    def over(self) -> bool:
        """Nothing more is to be expected: the terminator came, or an error."""
        return self._ended or self.error is not None or bool(self.problem)

    def ending(self) -> bytes:
        """What ends a stream that is whole."""
        return self.terminator

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """The event by which a client learns that the stream broke; `error` in OpenAI's shape."""
        raise NotImplementedError

    def feed(self, data: bytes) -> bytes:
        """Take a read; what may be relayed now."""
        buffer = self._rest + data if self._rest else data
        if b"\r" in buffer:
            end = max((found.end() for found in BOUNDARY.finditer(buffer)), default=0)
        else:
            end = buffer.rfind(b"\n\n") + 2 if b"\n\n" in buffer else 0
        if not end:
            self._rest = buffer
            if len(buffer) > MAX_EVENT:
                self.problem = f"an event of the upstream is larger than {MAX_EVENT} bytes"
            return b""
        ready, self._rest = (buffer, b"") if end == len(buffer) else (buffer[:end], buffer[end:])
        return b"".join(self._each(ready))

    def _each(self, ready: bytes) -> list[bytes]:
        """Whole events: those that say nothing of interest in one piece, the others one by one."""
        out: list[bytes] = []
        position, size, plain = 0, len(ready), b"\r" not in ready
        while position < size and (self._ended or (self.error is None and not self.problem)):
            self._keen = plain and self.started and not self._ended
            if self._keen:
                start = self._dull(ready, position)
                if start > position:
                    out.append(ready[position:start])
                    position = start
                    continue
            if plain:
                end = _end(ready, position)
            else:
                boundary = BOUNDARY.search(ready, position)
                end = boundary.end() if boundary is not None else size
            raw, position = ready[position:end], end
            if self._looked_at(raw):
                self._head.append(raw)
            if self._head and (self.started or sum(map(len, self._head)) > MAX_HEAD):
                self.started = True
                out += self._head
                self._head.clear()
        return out

    def _dull(self, ready: bytes, position: int) -> int:
        """Where the next event that may be of interest begins; everything before it is counted and may go as it is."""
        likeness = self._likeness
        end, count = likeness.run(ready, position)
        if not count and likeness.willing and not ready.startswith(b":", position):
            event = ready[position : _end(ready, position)]
            if self._interest(event) < len(event):
                return position
            likeness.learn(event)
            end, count = likeness.run(ready, position)
        if count:
            self.chunks += count
            return end
        start = self._interest(ready, position)
        if start < len(ready):
            boundary = ready.rfind(b"\n\n", position, start)
            start = boundary + 2 if boundary >= 0 else position
        self.chunks += ready.count(b"\n\n", position, start)
        if ready.startswith(b":", position) or ready.find(b"\n\n:", position, start) >= 0:
            self.chunks -= len(_COMMENTS.findall(ready, position, start))
        return start

    def _interest(self, data: bytes, position: int = 0) -> int:
        """Where the first thing of interest stands; the end when there is none."""
        first = len(data)
        for mark in self.INTEREST:
            if isinstance(mark, bytes):
                at = data.find(mark, position, first)
            else:
                found = mark.search(data, position, first)
                at = -1 if found is None else found.start()
            if at >= 0:
                first = at
        return first

    def _dull_event(self, raw: bytes) -> bool:
        """Whether an event can go as it is."""
        return self.started and not self._keen and self._interest(raw) == len(raw)

    def _looked_at(self, raw: bytes) -> bool:
        """Learn from one event; whether it is to be relayed."""
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            self.problem = "an event of the upstream is not UTF-8"
            return False
        name, data = fields_of(text)
        if data is None:
            return not self._ended  # a comment, or a field we do not know
        return self._told(raw, name, data)

    def _told(self, raw: bytes, name: str, data: str) -> bool:
        """What one event with data says; whether it is to be relayed."""
        raise NotImplementedError

    def _parsed(self, data: str) -> dict[str, Any] | None:
        """The payload of an event; what is none is a problem, unless the stream is over anyway."""
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            found = None
        if isinstance(found, dict):
            return found
        self.problem = "" if self._ended else "an event of the upstream is no JSON object"
        return None


def _end(ready: bytes, position: int) -> int:
    """Where an event ends; a line's end too many between events is as one that says nothing."""
    at = ready.find(b"\n\n", position)
    return at + 2 if at >= 0 else len(ready)


def comment(text: str) -> bytes:
    """A comment, which clients skip."""
    return b": " + text.encode() + b"\n\n"


def text(value: Any) -> str:
    """`value` if it is a text, else none."""
    return value if isinstance(value, str) else ""


def number(holder: Any, name: str) -> int | None:
    """A member that is a whole number and not negative; anything else was not said."""
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def error_text(found: Any) -> str:
    """The message of an error in any of the shapes that providers use."""
    if isinstance(found, dict):
        return text(found.get("message")) or text(found.get("detail"))
    return text(found)


def in_shape(found: Any) -> dict[str, Any]:
    """An upstream's error in OpenAI's shape; its own type, code and message are kept."""
    if isinstance(found, dict):
        return {
            "message": error_text(found) or "the upstream failed",
            "type": text(found.get("type")) or "upstream_error",
            "param": found.get("param"),
            "code": found.get("code"),
        }
    return {"message": text(found) or "the upstream failed", "type": "upstream_error", "param": None, "code": None}


def loaded(body: bytes) -> dict[str, Any] | str:
    """A whole answer as an object, or why it is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "the upstream's answer is not JSON"
    if not isinstance(found, dict):
        return "the upstream's answer is no object"
    if found.get("error"):
        return error_text(found["error"]) or "the upstream answered with an error"
    return found
