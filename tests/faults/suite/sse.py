"""An oracle for event streams, written from the standard alone: events, text, errors, and whether the grammar was kept."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `offset`: where it ends in the body."""

    name: str
    data: str
    offset: int

    @property
    def json(self) -> Any:
        """Its data; None when it is no JSON."""
        try:
            return json.loads(self.data)
        except ValueError:
            return None


def _lines(body: bytes) -> Iterator[tuple[bytes, int]]:
    """Complete lines and where each ends."""
    place = 0
    for end in _END.finditer(body):
        yield body[place : end.start()], end.end()
        place = end.end()


def parse(body: bytes) -> list[Event]:
    """The events of a body. One that the body cuts off is none."""
    found: list[Event] = []
    data: list[str] = []
    name = ""
    begun = body.removeprefix(b"\xef\xbb\xbf")
    lost = len(body) - len(begun)
    for line, after in _lines(begun):
        if not line:
            if data:
                found.append(Event(name, "\n".join(data), after + lost))
            data, name = [], ""
            continue
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return found


def choices(event: Event) -> list[dict[str, Any]]:
    """The choices of a chat or completions chunk."""
    found = event.json
    rows = found.get("choices") if isinstance(found, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def text(protocol: str, events: list[Event], index: int = 0) -> str:
    """All visible text of a stream."""
    pieces = []
    for event in events:
        found = event.json
        if not isinstance(found, dict):
            continue
        if protocol == "responses":
            pieces.append(found.get("delta", "") if found.get("type") == "response.output_text.delta" else "")
        elif protocol == "messages":
            pieces.append((found.get("delta") or {}).get("text", "") if "delta" in found else "")
        else:
            mine = [choice for choice in choices(event) if choice.get("index", 0) == index]
            pieces += [(choice.get("delta") or {}).get("content") or choice.get("text") or "" for choice in mine]
    return "".join(pieces)


def whole_text(protocol: str, body: Any) -> str:
    """All visible text of a whole answer."""
    try:
        if protocol == "chat":
            return str(body["choices"][0]["message"]["content"] or "")
        if protocol == "completions":
            return str(body["choices"][0]["text"])
        if protocol == "messages":
            return "".join(part.get("text", "") for part in body["content"])
        return "".join(part["text"] for item in body["output"] for part in item.get("content", ()))
    except (KeyError, IndexError, TypeError, AttributeError):
        return ""


def error(events: list[Event]) -> dict[str, Any] | None:
    """The error that a stream carries."""
    for event in events:
        found = event.json
        if not isinstance(found, dict):
            continue
        inner = found.get("error")
        if found.get("type") == "response.failed":
            inner = (found.get("response") or {}).get("error")
        if isinstance(inner, dict):
            return inner
        if inner or event.name == "error":
            return {"message": str(inner or found)}
    return None


def broken(events: list[Event]) -> bool:
    """Whether a client's JSON parser would raise on an event."""
    return any(event.json is None and event.data.strip() != "[DONE]" for event in events)


def finishes(events: list[Event]) -> list[str]:
    """Every reason to finish that the stream gives, in order, whatever the protocol."""
    found = []
    for event in events:
        body = event.json
        if not isinstance(body, dict):
            continue
        found += [str(choice["finish_reason"]) for choice in choices(event) if choice.get("finish_reason")]
        if body.get("type") == "message_delta" and (body.get("delta") or {}).get("stop_reason"):
            found.append(str(body["delta"]["stop_reason"]))
        if body.get("type") in {"response.completed", "response.incomplete"}:
            found.append(str(body["type"]))
    return found


def dones(events: list[Event]) -> int:
    """How many terminators there are."""
    return sum(event.data.strip() == "[DONE]" or event.name == "message_stop" for event in events)


def chat_grammar(events: list[Event], expected: int = 1) -> str:
    """What is wrong with a chat stream as a sequence; empty when nothing is."""
    if dones(events) != 1 or events[-1].data.strip() != "[DONE]":
        return f"{dones(events)} terminators, last event {events[-1].data[:40] if events else 'none'!r}"
    roles: dict[int, int] = {}
    ended: set[int] = set()
    for event in events[:-1]:
        for choice in choices(event):
            index = choice.get("index", 0)
            delta = choice.get("delta") or {}
            roles[index] = roles.get(index, 0) + bool(delta.get("role"))
            if index in ended and any(delta.values()):
                return f"choice {index} goes on after its finish"
            if choice.get("finish_reason"):
                if index in ended:
                    return f"choice {index} finishes twice"
                ended.add(index)
    if len(ended) != expected:
        return f"{len(ended)} choices finished, not {expected}"
    return "" if all(count <= 1 for count in roles.values()) else f"roles by choice: {roles}"


def tool_calls(events: list[Event]) -> list[dict[str, Any]]:
    """The tool calls of a chat stream. A new id at an index that is taken begins a new call."""
    found: list[dict[str, Any]] = []
    at: dict[int, dict[str, Any]] = {}
    for event in events:
        for choice in choices(event):
            for part in (choice.get("delta") or {}).get("tool_calls") or ():
                index = part.get("index", 0)
                call = at.get(index)
                if call is None or (part.get("id") and call["id"] and part["id"] != call["id"]):
                    call = at[index] = {"id": "", "name": "", "arguments": ""}
                    found.append(call)
                function = part.get("function") or {}
                call["id"] = call["id"] or part.get("id") or ""
                call["name"] += function.get("name") or ""
                call["arguments"] += function.get("arguments") or ""
    return found


def calls_of(protocol: str, events: list[Event]) -> list[dict[str, Any]]:
    """The tool calls of a stream of any protocol."""
    if protocol == "chat":
        return tool_calls(events)
    at: dict[Any, dict[str, Any]] = {}
    for event in events:
        found = event.json if isinstance(event.json, dict) else {}
        kind = found.get("type")
        if kind == "content_block_start" and found["content_block"].get("type") == "tool_use":
            block = found["content_block"]
            at[found["index"]] = {"id": block["id"], "name": block["name"], "arguments": ""}
        elif kind == "content_block_delta" and found["index"] in at:
            at[found["index"]]["arguments"] += found["delta"].get("partial_json", "")
        elif kind == "response.output_item.added" and found["item"].get("type") == "function_call":
            item = found["item"]
            at[found["output_index"]] = {"id": item["call_id"], "name": item["name"], "arguments": ""}
        elif kind == "response.function_call_arguments.delta":
            at[found["output_index"]]["arguments"] += found["delta"]
    return list(at.values())
