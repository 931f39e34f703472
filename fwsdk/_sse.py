"""Server-sent events out of bytes, wherever the bytes happen to be cut. Pure; see WHATWG HTML, section 9.2.6."""

from collections.abc import Iterator
from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"
MAX_EVENT = 32 * 1024 * 1024


class TooLong(ValueError):
    """One event is longer than 32 MiB: this is no event stream."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `comment` events have no data; their text is what stood after the colon."""

    data: str = ""
    name: str = ""
    comment: str | None = None


class Framer:
    """Feed it bytes, take events. Lines end in LF, CRLF or CR; an event without its blank line is not one."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        self._begun = False
        self._after_cr = False
        self._data: list[str] = []
        self._size = 0
        self._name = ""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that `chunk` completes.

        Raises:
            TooLong: an event exceeds `MAX_EVENT` bytes.
        """
        self._rest += chunk
        if not self._begun:
            if len(self._rest) < len(_BOM) and _BOM.startswith(self._rest):
                return
            self._begun = True
            if self._rest.startswith(_BOM):
                del self._rest[: len(_BOM)]
        for line in self._lines():
            yield from self._line(line)
        if len(self._rest) + self._size > MAX_EVENT:
            raise TooLong("an event of more than 32 MiB")

    def _lines(self) -> Iterator[str]:
        """Complete lines. A CR ends a line at once; an LF right after it, maybe in the next chunk, belongs to it."""
        rest = self._rest
        start = 0
        if self._after_cr and rest:
            self._after_cr = False
            start = rest[:1] == b"\n"
        position = max(start, self._searched)
        while True:
            ends = [found for found in (rest.find(b"\n", position), rest.find(b"\r", position)) if found >= 0]
            if not ends:
                break
            end = min(ends)
            yield rest[start:end].decode("utf-8", errors="replace")
            start = end + 1
            if rest[end] == 0x0D:
                if start == len(rest):
                    self._after_cr = True
                elif rest[start] == 0x0A:
                    start += 1
            position = start
        del rest[:start]
        self._searched = len(rest)

    def _line(self, line: str) -> Iterator[Event]:
        if not line:
            if self._data:
                yield Event(data="\n".join(self._data), name=self._name)
            self._data, self._name, self._size = [], "", 0
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            yield Event(comment=value)
        elif field == "data":
            self._data.append(value)
            self._size += len(value)
        elif field == "event":
            self._name = value
