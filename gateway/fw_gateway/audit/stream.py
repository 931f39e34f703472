"""Records of a file, one at a time: JSON Lines, one JSON document, CSV, each plain or gzip. A large file is never in memory whole."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import orjson

LONGEST = 16 * 1024 * 1024
"""Bytes of one record; a longer one is passed over and counted."""
CHUNK = 256 * 1024
WRAPPERS = ("data", "rows", "result", "results", "logs", "observations", "traces", "scores", "spans", "items")
"""Keys under which an API's answer has its list."""

Problem = Callable[[str], None]


@dataclass(slots=True)
class Progress:
    """How far the reading is, in bytes of the file."""

    done: int = 0
    total: int = 0
    listeners: list[Callable[[int, int], None]] = field(default_factory=list)

    def moved(self, at: int) -> None:
        """Tell the listeners."""
        self.done = at
        for listener in self.listeners:
            listener(self.done, self.total)


def records(path: Path, problem: Problem, progress: Progress) -> Iterator[Mapping[str, Any]]:
    """Every record of `path`; what cannot be read goes to `problem` by its kind.

    Raises:
        OSError: the file cannot be read.
    """
    progress.total = path.stat().st_size
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if packed else raw)
        source = _Source(stream, lambda: progress.moved(raw.tell()))
        start = source.peek()
        if start in (b"[", b"{"):
            yield from _json(source, problem, array=start == b"[")
        elif start:
            yield from _csv(source, problem)


class _Source:
    """Bytes in chunks, with what was looked at put back."""

    def __init__(self, stream: IO[bytes], moved: Callable[[], None]) -> None:
        self._stream = stream
        self._moved = moved
        self._kept = b""

    def peek(self) -> bytes:
        """The first byte that is no space; empty: there is none."""
        while True:
            self._kept += self._stream.read(CHUNK)
            if not self._kept:
                return b""
            if self._kept.startswith(b"\xef\xbb\xbf"):
                self._kept = self._kept[3:]
            if bare := self._kept.lstrip():
                self._kept = bare
                return bare[:1]
            self._kept = b""

    def read(self) -> bytes:
        """The next chunk; empty at the end."""
        if self._kept:
            found, self._kept = self._kept, b""
            return found
        found = self._stream.read(CHUNK)
        self._moved()
        return found

    def lines(self, problem: Problem) -> Iterator[bytes]:
        """Lines of at most `LONGEST` bytes."""
        rest, skipping = b"", False
        while chunk := self.read():
            *whole, last = (rest + chunk).split(b"\n")
            for line in whole:
                if not skipping:
                    yield line
                skipping = False
            rest = last
            if skipping or len(rest) > LONGEST:
                if not skipping:
                    problem(f"a record longer than {LONGEST >> 20} MiB")
                rest, skipping = b"", True
        if rest and not skipping:
            yield rest


def _json(source: _Source, problem: Problem, *, array: bool) -> Iterator[Mapping[str, Any]]:
    """Lines when the first line is a whole document by itself, else the items of one document."""
    if array:
        yield from _mappings(_items(source, problem), problem)
        return
    lines = source.lines(problem)
    head = next(lines, b"")
    try:
        found = json.loads(head)
    except ValueError:
        found = None
    if found is None and not head.rstrip().endswith(b"}"):  # laid out over many lines
        yield from _document(head, lines, problem)
        return
    if found is None:
        problem("a line that is not JSON")
    else:
        yield from _opened(found, problem)
    for line in lines:
        if line.strip():
            try:
                found = orjson.loads(line)
            except orjson.JSONDecodeError:
                problem("a line that is not JSON")
                continue
            yield from _opened(found, problem)


def _document(head: bytes, lines: Iterator[bytes], problem: Problem) -> Iterator[Mapping[str, Any]]:
    """A document over several lines: up to sixteen records' length of it. Larger ones should be a list or lines."""
    kept, size = [head], len(head)
    for line in lines:
        size += len(line)
        if size > 16 * LONGEST:
            problem("one document that is too long: export it as JSON Lines, or as a list")
            return
        kept.append(line)
    decoder, text, at = json.JSONDecoder(), b"\n".join(kept).decode("utf-8", "replace"), 0
    while at < len(text):
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            problem("the rest of a document that is not JSON")
            return
        yield from _opened(found, problem)
        while at < len(text) and text[at] in " \r\n\t,":
            at += 1


def _items(source: _Source, problem: Problem) -> Iterator[Any]:
    """The items of a list, decoded as they come."""
    text, pending, opened = "", b"", False
    while True:
        chunk = source.read()
        data = pending + chunk
        cut = _whole(data) if chunk else len(data)
        text += data[:cut].decode("utf-8", "replace")
        pending = data[cut:]
        if not opened:
            text, opened = text[1:], True
        found, text = _decoded(text)
        yield from found
        if text.startswith("]"):
            return
        if not chunk:
            if text.strip() or not opened:
                problem("a list that is cut, or not JSON")
            return
        if len(text) > LONGEST:
            problem(f"a record longer than {LONGEST >> 20} MiB, or a list that is not JSON")
            return


def _decoded(text: str) -> tuple[list[Any], str]:
    """The whole items at the beginning of `text`, and what is left of it."""
    found: list[Any] = []
    decoder, at = json.JSONDecoder(), 0
    while True:
        while at < len(text) and text[at] in " \r\n\t,":
            at += 1
        if at >= len(text) or text[at] == "]":
            return found, text[at:]
        try:
            item, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return found, text[at:]
        found.append(item)


def _whole(data: bytes) -> int:
    """How many bytes end with a whole character of UTF-8."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return len(data)
        if byte >= 0xC0:
            return len(data) - back if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else len(data)
    return len(data)


def _opened(found: Any, problem: Problem) -> Iterator[Mapping[str, Any]]:
    """A record, or those of an API's answer that wraps a list of them."""
    if isinstance(found, dict) and "type" not in found and "id" not in found:
        for name in WRAPPERS:
            if isinstance(found.get(name), list):
                yield from _mappings(found[name], problem)
                return
    yield from _mappings(found if isinstance(found, list) else [found], problem)


def _mappings(found: Any, problem: Problem) -> Iterator[Mapping[str, Any]]:
    for item in found:
        if isinstance(item, dict):
            yield item
        else:
            problem("a record that is no object")


def _csv(source: _Source, problem: Problem) -> Iterator[Mapping[str, Any]]:
    """Rows under the names of the first line. A field may hold line breaks."""
    csv.field_size_limit(LONGEST)
    names: list[str] | None = None
    rows = csv.reader(line.decode("utf-8", "replace").rstrip("\r") + "\n" for line in source.lines(problem))
    while True:
        try:
            row = next(rows, None)
        except csv.Error:
            problem("a row that is not CSV")
            continue
        if row is None:
            return
        if names is None:
            names = [name.strip() for name in row]
        elif row and len(row) == len(names):
            yield dict(zip(names, row, strict=True))
        elif row:
            problem("a row with another number of columns than the first")
