"""Streams of the three protocols as their servers write them: one short answer each, with usage, and in pieces."""

import json
from typing import Any


def sse(payload: dict[str, Any], name: str = "") -> bytes:
    """One event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload)}\n\n".encode()


def named(kind: str, **more: Any) -> bytes:
    """An event whose type is its name too."""
    return sse({"type": kind, **more}, kind)


MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [], "stop_reason": None,
    "stop_sequence": None, "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1},
}  # fmt: skip
ANTHROPIC = (
    named("message_start", message=MESSAGE),
    named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    named("ping"),
    named("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"}),
    named("content_block_delta", index=0, delta={"type": "text_delta", "text": ' {"type":"message_stop"} é'}),
    named("content_block_stop", index=0),
    named("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 3}),
    named("message_stop"),
)
ANTHROPIC_WHOLE = {
    **MESSAGE,
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 3},
}

_ITEM = {"id": "m_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
_PART = {"type": "output_text", "text": "", "annotations": []}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt",
    "status": "in_progress",
    "output": [],
}
RESPONSE_WHOLE = {
    **RESPONSE,
    "status": "completed",
    "output": [{**_ITEM, "status": "completed", "content": [{**_PART, "text": "Hello world"}]}],
    "usage": {
        "input_tokens": 7, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 10,
    },
}  # fmt: skip
RESPONSES = tuple(
    named(kind, sequence_number=number, **more)
    for number, (kind, more) in enumerate(
        (
            ("response.created", {"response": RESPONSE}),
            ("response.in_progress", {"response": RESPONSE}),
            ("response.output_item.added", {"output_index": 0, "item": _ITEM}),
            ("response.content_part.added", {"item_id": "m_1", "output_index": 0, "content_index": 0, "part": _PART}),
            ("response.output_text.delta", {"item_id": "m_1", "output_index": 0, "content_index": 0, "delta": "Hello"}),
            (
                "response.output_text.delta",
                {"item_id": "m_1", "output_index": 0, "content_index": 0, "delta": " world"},
            ),
            (
                "response.output_text.done",
                {"item_id": "m_1", "output_index": 0, "content_index": 0, "text": "Hello world"},
            ),
            ("response.output_item.done", {"output_index": 0, "item": RESPONSE_WHOLE["output"][0]}),
            ("response.completed", {"response": RESPONSE_WHOLE}),
        )
    )
)
