"""Thoughts in a request of Messages that its server would refuse: another provider's, and such as nobody signed. Pure."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from fw_gateway.providers.dialects.messages.parts import unpacked_signature
from fw_gateway.providers.splice import items, members, without_items

LARGE: Final = 2**16
"""Bytes from which finding where the blocks stand takes the loop longer than writing all of it anew: 73 ms against 2 for 1.4 MB."""
_NO_SIGNATURE: Final = re.compile("[0-9a-fA-F-]{0,64}")
"""What servers that sign nothing put there: nothing, or an id in hexadecimal digits. Anthropic's are longer, and base64."""


def kept_from(body: bytes, fields: Mapping[str, Any], *, strict: bool) -> tuple[bytes, tuple[str, ...]]:
    """The request without the thoughts that its server cannot have signed, and where they stood; all else byte for byte.

    Of a large request all else is the same value for value.

    `strict`: the server checks signatures, so that unsigned thoughts stay behind too. Thoughts whose signature we made up, to bring another
    provider's through a client, always do: nobody but us can read it.
    """
    gone = _unwelcome(fields.get("messages"), strict=strict) if b"thinking" in body else {}
    if not gone:
        return body, ()
    names = tuple(f"messages[{turn}].content[{block}]" for turn, blocks in gone.items() for block in blocks)
    if len(body) > LARGE:
        with contextlib.suppress(orjson.JSONEncodeError):
            return orjson.dumps({**fields, "messages": list(_left(fields["messages"], gone))}), names
    found = [(start, end) for name, start, end in members(body) if name == "messages"]
    start, end = found[-1]
    told, empty = _without(body[start:end], fields["messages"], gone)
    return body[:start] + without_items(told, empty) + body[end:], names


def _left(turns: list[Any], gone: Mapping[int, list[int]]) -> Iterator[Any]:
    for number, turn in enumerate(turns):
        if number not in gone:
            yield turn
        elif left := [block for place, block in enumerate(turn["content"]) if place not in gone[number]]:
            yield {**turn, "content": left}


def _unwelcome(turns: Any, *, strict: bool) -> dict[int, list[int]]:
    """Numbers of blocks, by the number of their turn."""
    found: dict[int, list[int]] = {}
    for number, turn in enumerate(turns if isinstance(turns, list) else ()):
        content = turn.get("content") if isinstance(turn, Mapping) else None
        for place, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, Mapping) and block.get("type") == "thinking" and _refused(block, strict=strict):
                found.setdefault(number, []).append(place)
    return found


def _refused(block: Mapping[str, Any], *, strict: bool) -> bool:
    signature = block.get("signature") or ""
    if not isinstance(signature, str):
        return False  # the server says best what is wrong with it
    return "maker" in unpacked_signature(signature) or (strict and _NO_SIGNATURE.fullmatch(signature) is not None)


def _without(turns: bytes, read: list[Any], gone: Mapping[int, list[int]]) -> tuple[bytes, set[int]]:
    """The turns without those blocks, and the numbers of turns in which nothing is left: a server refuses one that says nothing."""
    out, empty = [], set()
    for number, (start, end) in enumerate(items(turns)):
        turn = turns[start:end]
        if number in gone:
            turn = _thinned(turn, gone[number])
            if len(read[number]["content"]) == len(gone[number]):
                empty.add(number)
        out.append(turn)
    return b"[" + b",".join(out) + b"]", empty


def _thinned(turn: bytes, gone: list[int]) -> bytes:
    start, end = next((start, end) for name, start, end in reversed(list(members(turn))) if name == "content")
    return turn[:start] + without_items(turn[start:end], gone) + turn[end:]
