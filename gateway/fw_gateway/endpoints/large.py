"""Large JSON bodies, read in turns with everything else and not held three times.

Their long plain texts (images, mostly) are cut out first, what is left is read like any body, and the texts are put back after.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import orjson

from fw_gateway import clock
from fw_gateway.endpoints.request import NotJSON

LARGE = 2**22
"""Bytes from which a body is large."""
LONG = 2**16
"""Bytes from which a text is long."""
LOOKS = 10_000
"""Quotation marks that are looked at; what follows them is parsed as it stands."""
TURN = 500
"""Of those, how many at a time."""
RUN = 64
"""Backslashes in a row after which nothing more is looked at."""
_KEY = re.compile(rb"[ \t\r\n]*:")
"""What follows the name of a member."""
_PIECE = 2**18
"""Bytes of a text that are looked at at a time."""

Fields = dict[str, Any]


async def parsed(body: bytes, parse: Callable[[bytes], Fields]) -> Fields:
    """What `parse` makes of it, while the loop goes on. `parse` reads all JSON alike that differs in the words of a text alone.

    A body of which less than half is long plain texts is parsed in one step.

    Raises:
        BadRequest: `parse` does.
    """
    spans = await _long(body)
    if 2 * sum(end - start for start, end in spans) < len(body):
        return parse(body)
    mark, view, last = f"{clock.secret()}:", memoryview(body), 0
    pieces: list[bytes | memoryview] = []
    for number, (start, end) in enumerate(spans):
        pieces += [view[last:start], f"{mark}{number}".encode()]
        last = end
    try:
        found = parse(b"".join([*pieces, view[last:]]))
    except NotJSON:
        return parse(body)  # says where in the whole
    texts = {f"{mark}{number}": span for number, span in enumerate(spans)}
    todo: list[Any] = [found]
    while todo:
        holder = todo.pop()
        for key, value in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            if isinstance(value, (dict, list)):
                todo.append(value)
            elif isinstance(value, str) and value in texts:
                start, end = texts[value]
                holder[key] = str(view[start:end], "ascii")
                await asyncio.sleep(0)
    return found


async def _long(body: bytes) -> list[tuple[int, int]]:
    """Where long plain texts begin and end, without their marks, as far as `LOOKS` go."""
    spans: list[tuple[int, int]] = []
    start, end = -1, -1
    """Of the text that is looked at; -1: between two."""
    plain = True
    for look in range(LOOKS):
        if not look % TURN:
            await asyncio.sleep(0)
        end = body.find(b'"', end + 1)
        if end < 0:
            break
        if start < 0:
            start, plain = end + 1, True
            continue
        before = body[max(start, end - RUN) : end]
        escapes = len(before) - len(before.rstrip(b"\\"))
        if escapes == RUN:
            break  # it would take a look at each of them to tell where the text ends
        if escapes % 2:
            plain = False
            continue
        if plain and end - start >= LONG and not _KEY.match(body, end + 1) and await _plain(body, start, end):
            spans.append((start, end))
        start = -1
    return spans


async def _plain(body: bytes, start: int, end: int) -> bool:
    """Whether the text is ASCII without escapes, and valid."""
    view = memoryview(body)
    try:
        for first in range(start, end, _PIECE):
            piece = bytes(view[first : min(first + _PIECE, end)])
            if b"\\" in piece or not piece.isascii():
                return False
            orjson.loads(b'"%b"' % piece)
            await asyncio.sleep(0)
    except orjson.JSONDecodeError:
        return False
    return True
