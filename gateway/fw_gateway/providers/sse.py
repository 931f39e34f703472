"""Server-sent events: bytes cut into events, an object written as one. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from fw_gateway.providers.form import Unreadable

MAX_EVENT: Final = 16 * 2**20
"""Bytes that one event may have; more is no event."""

BOUNDARY: Final = re.compile(rb"(?>\r\n|\r|\n){2}")
"""A blank line. Atomic: CR and LF are never read as two ends of a line, unless a read ends between them; then LF begins the next event,
unharmed."""
_LINE = re.compile(r"\r\n|\r|\n")


class Frames:
    """Cuts what is read into events, wherever the reads were cut. Lines may end in LF, CR or CRLF."""

    __slots__ = ("_begun", "_parts", "_size", "_tail")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b""
        self._begun = False

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """Name and data of each event that is now whole; those without data are none.

        Raises Unreadable on an event that is too large or not UTF-8.
        """
        joint = self._tail + data
        if not BOUNDARY.search(joint):
            self._parts.append(data)
            self._size += len(data)
            self._tail = joint[-3:]
            if self._size > MAX_EVENT:
                raise Unreadable("", f"an event is larger than {MAX_EVENT} bytes")
            return []
        *ready, rest = BOUNDARY.split(b"".join([*self._parts, data]))
        self._parts, self._size, self._tail = [rest], len(rest), rest[-3:]
        return [event for block in ready if (event := self._event(block))]

    def end(self) -> list[tuple[str, str]]:
        """What stood behind the last boundary, if it is an event: some servers do not close their last one."""
        block = b"".join(self._parts)
        self._parts, self._size, self._tail = [], 0, b""
        event = self._event(block)
        return [event] if event else []

    def _event(self, block: bytes) -> tuple[str, str] | None:
        try:
            text = block.decode()
        except UnicodeDecodeError:
            raise Unreadable("", "an event is not UTF-8") from None
        if not self._begun:
            text, self._begun = text.removeprefix("\ufeff"), bool(block) or self._begun
        name, data = fields_of(text)
        return None if data is None else (name, data)


def fields_of(event: str) -> tuple[str, str | None]:
    """Name and `data` of one event; None when it has no data."""
    if event.startswith("data: ") and "\r" not in event and event.find("\n") == len(event) - 2:
        return "", event[6:-2]  # as most are
    name, data = "", []
    for line in _LINE.split(event.removeprefix("\ufeff")):
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))
        elif field == "event":
            name = value.removeprefix(" ")
    return name, "\n".join(data) if data else None


def frame(payload: Mapping[str, Any], name: str = "") -> bytes:
    """One event with a JSON payload."""
    head = f"event: {name}\ndata: ".encode() if name else b"data: "
    return head + orjson.dumps(payload) + b"\n\n"


def payload_of(data: str) -> Mapping[str, Any]:
    """The JSON object of an event. Raises Unreadable when it is none."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Unreadable("", "an event is no JSON object")
    return found
