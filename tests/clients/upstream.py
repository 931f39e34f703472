"""An upstream that speaks all protocols by hand: what it is asked decides what it answers, and it keeps what it was asked.

With a tool and no result yet it calls the tool (twice at once when two cities are named); with a schema it answers JSON; asked to think
it thinks first. A user who says `REFUSE 429` gets that status; `BREAK` cuts a stream after its first words.
"""

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

WORDS = ("Hello", " from", " here")
JSON_WORDS = ('{"city":"Paris",', '"people":2}')
THOUGHT = ("Let me", " think.")
SIGNATURE = "c2lnbmVk"


@dataclass
class Seen:
    """What came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Asked:
    """What the answer depends on, read without any help from the product."""

    stream: bool
    calls: list[tuple[str, str, str]]
    """(id, name, arguments) to call."""
    words: tuple[str, ...]
    thinks: bool


@dataclass
class Upstream:
    """A running one."""

    url: str
    seen: list[Seen] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        """The newest body."""
        return self.seen[-1].body


def asked(path: str, body: dict[str, Any]) -> Asked:
    """By the protocol of the path."""
    text = json.dumps(body)
    tools = body.get("tools") or []
    names = [tool.get("name") or tool.get("function", {}).get("name") for tool in tools]
    answered = any(mark in text for mark in ('"role": "tool"', "function_call_output", "tool_result"))
    cities = re.findall(r"weather in (\w+)(?: and (\w+))?", text)
    named = [city for city in cities[0] if city] if cities and names and not answered else []
    calls = [(f"call_{number}", names[0], json.dumps({"city": city})) for number, city in enumerate(named)]
    schema = "json_schema" in text
    thinking = body.get("thinking") or {}
    thinks = path.endswith("/messages") and thinking.get("type") in {"enabled", "adaptive"}
    return Asked(bool(body.get("stream")), calls, JSON_WORDS if schema else WORDS, thinks)


def chat(found: Asked) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """OpenAI chat: the answer whole, and as events."""
    calls = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in found.calls]
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else "".join(found.words)}
    if calls:
        message["tool_calls"] = calls
    reason = "tool_calls" if calls else "stop"
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    head = {"id": "chatcmpl-1", "created": 1700000000, "model": "up-1"}
    whole = {
        **head, "object": "chat.completion", "usage": usage,
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
    }  # fmt: skip
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if calls else ""}]
    for number, (name, function, arguments) in enumerate(found.calls):
        first = {"index": number, "id": name, "type": "function", "function": {"name": function, "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        deltas += [{"tool_calls": [{"index": number, "function": {"arguments": piece}}]} for piece in arguments]
    deltas += [] if calls else [{"content": word} for word in found.words]
    chunk = {**head, "object": "chat.completion.chunk"}
    events = [("", {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) for delta in deltas]
    events.append(("", {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
    events += [("", {**chunk, "choices": [], "usage": usage}), ("", "[DONE]")]
    return whole, events


def messages(found: Asked) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Anthropic Messages."""
    blocks: list[dict[str, Any]] = []
    if found.thinks:
        blocks.append({"type": "thinking", "thinking": "".join(THOUGHT), "signature": SIGNATURE})
    if found.calls:
        blocks += [{"type": "tool_use", "id": i, "name": n, "input": json.loads(a)} for i, n, a in found.calls]
    else:
        blocks.append({"type": "text", "text": "".join(found.words)})
    reason = "tool_use" if found.calls else "end_turn"
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "up-1", "stop_sequence": None}
    usage = {"input_tokens": 7, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 0, "output_tokens": 4}
    whole = {**head, "content": blocks, "stop_reason": reason, "usage": usage}
    begun = {**head, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[tuple[str, Any]] = [("message_start", {"message": begun})]
    for index, block in enumerate(blocks):
        empty = {**block, **{name: "" for name in ("thinking", "signature", "text") if name in block}}
        events.append(
            (
                "content_block_start",
                {"index": index, "content_block": {**empty, **({"input": {}} if "input" in block else {})}},
            )
        )
        events += [("content_block_delta", {"index": index, "delta": delta}) for delta in _deltas(block, found)]
        events.append(("content_block_stop", {"index": index}))
    events += [
        ("message_delta", {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 4}}),
        ("message_stop", {}),
    ]
    return whole, [(name, {"type": name, **payload}) for name, payload in events]


def _deltas(block: dict[str, Any], found: Asked) -> Iterator[dict[str, Any]]:
    if block["type"] == "thinking":
        yield from ({"type": "thinking_delta", "thinking": word} for word in THOUGHT)
        yield {"type": "signature_delta", "signature": SIGNATURE}
    elif block["type"] == "tool_use":
        yield from ({"type": "input_json_delta", "partial_json": piece} for piece in json.dumps(block["input"]))
    else:
        yield from ({"type": "text_delta", "text": word} for word in found.words)


def responses(found: Asked) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """OpenAI Responses."""
    head = {
        "id": "resp_1", "object": "response", "created_at": 1700000000, "model": "up-1", "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
        "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
    }  # fmt: skip
    usage = {
        "input_tokens": 9, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0}, "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 13,
    }  # fmt: skip
    begun = {**head, "status": "in_progress", "output": [], "usage": None}
    items: list[dict[str, Any]] = []
    events: list[tuple[str, Any]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
    ]
    for index, (name, function, arguments) in enumerate(found.calls):
        item = {"id": f"fc_{index}", "type": "function_call", "call_id": name, "name": function}
        at = {"output_index": index, "item_id": item["id"]}
        done = {**item, "arguments": arguments, "status": "completed"}
        events.append(
            (
                "response.output_item.added",
                {"output_index": index, "item": {**item, "arguments": "", "status": "in_progress"}},
            )
        )
        events += [("response.function_call_arguments.delta", {**at, "delta": piece}) for piece in arguments]
        events.append(("response.function_call_arguments.done", {**at, "name": function, "arguments": arguments}))
        events.append(("response.output_item.done", {"output_index": index, "item": done}))
        items.append(done)
    if not found.calls:
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        full = {**part, "text": "".join(found.words)}
        at = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
        events += [
            ("response.output_item.added", {"output_index": 0, "item": item}),
            ("response.content_part.added", {**at, "part": part}),
        ]
        events += [("response.output_text.delta", {**at, "delta": word, "logprobs": []}) for word in found.words]
        events.append(("response.output_text.done", {**at, "text": full["text"], "logprobs": []}))
        events.append(("response.content_part.done", {**at, "part": full}))
        items.append({**item, "status": "completed", "content": [full]})
        events.append(("response.output_item.done", {"output_index": 0, "item": items[0]}))
    whole = {**head, "status": "completed", "output": items, "usage": usage}
    events.append(("response.completed", {"response": whole}))
    return whole, [(name, {"type": name, "sequence_number": n, **payload}) for n, (name, payload) in enumerate(events)]


SPOKEN = {"/v1/chat/completions": chat, "/v1/messages": messages, "/v1/responses": responses}
VECTORS = {
    "object": "list", "model": "up-1", "usage": {"prompt_tokens": 3, "total_tokens": 3},
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
}  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    upstream: Upstream

    def log_message(self, *args: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        """Answer by what is asked."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.upstream.seen.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        refused = re.search(r"REFUSE (\d+)", json.dumps(body))
        if refused:
            self._refuse(int(refused[1]))
        elif self.path == "/v1/embeddings":
            self._whole(200, VECTORS)
        elif self.path == "/v1/messages/count_tokens":
            self._whole(200, {"input_tokens": 11})
        else:
            found = asked(self.path, body)
            whole, events = SPOKEN[self.path](found)
            if found.stream:
                self._stream(events, cut="BREAK" in json.dumps(body))
            else:
                self._whole(200, whole)

    def _refuse(self, status: int) -> None:
        error = {"type": "rate_limit_error" if status == 429 else "invalid_request_error", "message": "told to"}
        anthropic = self.path.startswith("/v1/messages")
        self._whole(
            status,
            {"type": "error", "error": error} if anthropic else {"error": {**error, "param": None, "code": "told"}},
        )

    def _whole(self, status: int, payload: Any) -> None:
        data = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: list[tuple[str, Any]], *, cut: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for name, payload in events:
            head = f"event: {name}\n" if name else ""
            data = payload if isinstance(payload, str) else json.dumps(payload)
            block = f"{head}data: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            if cut and WORDS[0] in data:
                break
        self.wfile.write(b"0\r\n\r\n")


@contextmanager
def running() -> Iterator[Upstream]:
    """One on a free port, until the block ends."""
    upstream = Upstream("")
    handler = type("Bound", (Handler,), {"upstream": upstream})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    upstream.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
