"""A whole chat answer as the messages of its choices, whether it came in one piece or as a stream. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from fw_gateway.providers.codecs import Codec, Making, codecs
from fw_gateway.providers.form import Answer, Losses, Unreadable
from fw_gateway.providers.gather import gathered
from fw_gateway.providers.profiles import DEFAULT
from fw_gateway.providers.protocols import CHAT
from fw_gateway.providers.sse import Frames, fields_of
from fw_gateway.values import Call


def seen(call: Call, body: bytes) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    """The messages of an answer and the parameters of its request, as chat would have them, whichever protocol the caller speaks."""
    if call.protocol == CHAT:
        return messages(body, stream=call.stream), call.fields
    mine, chat = codecs[call.protocol], codecs[CHAT]
    losses = Losses()
    asked = mine.read_request(call.fields)
    fields = chat.write_request(asked, losses, DEFAULT, None)
    try:
        answer = _told(mine, body) if call.stream else mine.read_answer(orjson.loads(body))
    except (Unreadable, orjson.JSONDecodeError):
        return [], fields
    made = Making(asked, "", 0, mine.name)
    whole = chat.write_answer(answer, losses, made)
    return [choice["message"] for choice in whole["choices"]], fields


def _told(codec: Codec, body: bytes) -> Answer:
    """The answer that a stream tells."""
    reader = codec.reader()
    events = (event for name, data in Frames().feed(body) for event in reader.feed(name, data))
    return gathered(events, codec.name)


def messages(body: bytes, *, stream: bool) -> list[dict[str, Any]]:
    """The message of each choice, in order; empty when there is none. What cannot be read is left out."""
    found = _gathered(body) if stream else _whole(body)
    return [found[index] for index in sorted(found)]


def _whole(body: bytes) -> dict[int, dict[str, Any]]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    choices = answer.get("choices") if isinstance(answer, dict) else None
    held = enumerate(choices if isinstance(choices, list) else ())
    return {i: c["message"] for i, c in held if isinstance(c, dict) and isinstance(c.get("message"), dict)}


def _gathered(body: bytes) -> dict[int, dict[str, Any]]:
    """The deltas of a stream, put together by choice."""
    out: dict[int, dict[str, Any]] = {}
    for block in body.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        try:
            chunk = orjson.loads(fields_of(block)[1] or "null")
        except orjson.JSONDecodeError:
            continue
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            delta = choice.get("delta") if isinstance(choice, dict) else None
            if isinstance(delta, dict):
                index = choice.get("index")
                _add(out.setdefault(index if isinstance(index, int) else 0, {"role": "assistant"}), delta)
    return out


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls" and isinstance(value, list):
            calls = message.setdefault("tool_calls", [])
            for part in value:
                if isinstance(part, dict):
                    _call(calls, part)
        elif isinstance(value, str) and name != "role":
            message[name] = (message.get(name) or "") + value


def _call(calls: list[dict[str, Any]], part: dict[str, Any]) -> None:
    index = part.get("index")
    index = index if isinstance(index, int) and 0 <= index <= len(calls) else max(0, len(calls) - 1)
    if index >= len(calls):
        calls.append({"type": "function", "function": {"name": "", "arguments": ""}})
    call, function = calls[index], part.get("function")
    call["type"] = part.get("type") or call["type"]
    for name in ("name", "arguments"):
        value = function.get(name) if isinstance(function, dict) else None
        call["function"][name] += value if isinstance(value, str) else ""
