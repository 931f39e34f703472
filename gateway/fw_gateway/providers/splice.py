"""JSON bodies changed where they stand: a member cut out and replaced, or put in front; all else byte for byte. Pure."""

import re
from collections.abc import Collection, Iterator
from typing import Any

import orjson

LARGE = 2**20
"""Bytes from which a body is searched by its quotation marks."""
MARKS = 2_000
"""Of those, how many; what follows them is searched as it stands."""
_MODEL = re.compile(rb'"model"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]')


def members(body: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of each top-level value of the JSON object in `body`, which must be valid."""
    depth, key, start, name = 0, b"", -1, ""
    for token in _TOKEN.finditer(body):
        mark = token[0]
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
            if depth == 0 and start >= 0:
                yield name, start, token.start()
        elif depth != 1:
            continue
        elif mark == b":":
            name, start = orjson.loads(key), token.end()
        elif mark == b",":
            yield name, start, token.start()
            start = -1
        elif start < 0:
            key = mark


def items(body: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each item of the JSON array in `body`, which must be valid."""
    depth, start = 0, -1
    for token in _TOKEN.finditer(body):
        mark = token[0]
        if mark in b"{[":
            depth += 1
            start = token.end() if depth == 1 else start
        elif mark in b"}]":
            depth -= 1
            if depth == 0 and body[start : token.start()].strip():
                yield start, token.start()
        elif depth == 1 and mark == b",":
            yield start, token.start()
            start = token.end()


def without_items(body: bytes, gone: Collection[int]) -> bytes:
    """The array without some of its items, by their numbers."""
    return b"[" + b",".join(body[a:b] for number, (a, b) in enumerate(items(body)) if number not in gone) + b"]"


def replaced(body: bytes, name: str, value: bytes) -> bytes:
    """`body` with every top-level value of `name` replaced; the white space around it stays."""
    out, last = [], 0
    for found, start, end in members(body):
        if found != name:
            continue
        text = body[start:end]
        lead = len(text) - len(text.lstrip())
        tail = len(text.rstrip())
        out += [body[last : start + lead], value]
        last = start + tail
    return b"".join([*out, body[last:]])


def with_model(body: bytes, model: str) -> bytes:
    """`body`, which has a textual `model`, with another one."""
    name = orjson.dumps(model)
    # One key of that spelling, and none spelt with escapes: then it is the top-level one.
    place = _only(body, b'"model"')
    found = _MODEL.match(body, place) if place >= 0 and not (b"\\" in body and b"\\u006" in body) else None
    if found is None:
        return replaced(body, "model", name)
    view = memoryview(body)  # a slice of a large body would be one more copy of it
    return b"".join((view[: found.start(1)], name, view[found.end(1) :]))


def _only(body: bytes, text: bytes) -> int:
    """Where `text`, which begins with a quotation mark, stands, if it does so just once; else -1.

    Where marks are few (images, mostly), each is looked at: searching 20 MB takes 8 ms, finding what is rare in them half a millisecond.
    """
    if len(body) < LARGE:
        return body.find(text) if body.count(text) == 1 else -1
    found, place = -1, body.find(b'"')
    for _ in range(MARKS):
        if place < 0:
            return found
        if body.startswith(text, place):
            if found >= 0:
                return -1
            found = place
        place = body.find(b'"', place + 1)
    if place < 0:
        return found
    rest = body.count(text, place)
    if found >= 0:
        return -1 if rest else found
    return body.find(text, place) if rest == 1 else -1


def with_member(body: bytes, name: str, value: Any) -> bytes:
    """The object with one more member, which it has not yet; it must have another."""
    brace = body.index(b"{") + 1
    view = memoryview(body)
    return b"".join((view[:brace], orjson.dumps({name: value})[1:-1], b",", view[brace:]))
