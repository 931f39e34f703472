"""Anthropic's messages API."""

import json
from collections.abc import Iterator
from typing import Any

from tests.faults.upstream.answers import Answer, Event, Tool

STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal", None: None}


def error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    """An error body; Anthropic has no codes."""
    del code
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fx"}


def error_event(message: str, kind: str, code: str | None) -> Event:
    """An error within a stream."""
    return Event("error", error(message, kind, code), "error")


def _usage(answer: Answer) -> Any:
    found = answer.counted()
    if not isinstance(found, dict) or "prompt_tokens" not in found:
        return found
    cached = (found.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return {
        "input_tokens": found["prompt_tokens"],
        "output_tokens": found["completion_tokens"],
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
    }


def _use(tool: Tool) -> dict[str, Any]:
    return {"type": "tool_use", "id": tool.id, "name": tool.name, "input": {}}


def _message(answer: Answer, content: list[Any], stop: str | None, usage: Any) -> dict[str, Any]:
    found = {"id": f"msg_{answer.id}", "type": "message", "role": "assistant", "model": answer.model}
    return {**found, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one body."""
    content: list[Any] = []
    if answer.reasoning:
        content.append({"type": "thinking", "thinking": "".join(answer.reasoning), "signature": "c2lnbmF0dXJl"})
    if answer.tools:
        content += [{**_use(tool), "input": json.loads(tool.arguments or "{}")} for tool in answer.tools]
    else:
        content.append({"type": "text", "text": answer.text})
    return _message(answer, content, STOPS.get(answer.finish, answer.finish), _usage(answer))


def _block(index: int, block: dict[str, Any], deltas: list[dict[str, Any]]) -> Iterator[Event]:
    name = "content_block_start"
    yield Event("start", {"type": name, "index": index, "content_block": block}, name)
    for part in deltas:
        yield Event("content", {"type": "content_block_delta", "index": index, "delta": part}, "content_block_delta")
    yield Event("other", {"type": "content_block_stop", "index": index}, "content_block_stop")


def _blocks(answer: Answer) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    if answer.reasoning:
        parts: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": text} for text in answer.reasoning]
        parts.append({"type": "signature_delta", "signature": "c2lnbmF0dXJl"})
        yield {"type": "thinking", "thinking": "", "signature": ""}, parts
    if not answer.tools:
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": text} for text in answer.tokens]
    for tool in answer.tools:
        texts = ("", tool.arguments[:5], tool.arguments[5:])
        yield _use(tool), [{"type": "input_json_delta", "partial_json": text} for text in texts]


def events(answer: Answer, usage: bool) -> list[Event]:
    """The answer as a stream; usage comes at the start and with the stop reason."""
    del usage
    counted = _usage(answer)
    first = {**counted, "output_tokens": 1} if isinstance(counted, dict) and "input_tokens" in counted else counted
    start = {"type": "message_start", "message": _message(answer, [], None, first)}
    found = [Event("start", start, "message_start"), Event("ping", {"type": "ping"}, "ping")]
    for index, (block, deltas) in enumerate(_blocks(answer)):
        found += _block(index, block, deltas)
    stop = {"stop_reason": STOPS.get(answer.finish, answer.finish), "stop_sequence": None}
    last: dict[str, Any] = {"type": "message_delta", "delta": stop}
    if counted is not None:
        last["usage"] = counted
    found.append(Event("finish", last, "message_delta", answer.counted()))
    return [*found, Event("done", {"type": "message_stop"}, "message_stop")]
