"""The OpenAI chat protocol, as bytes: requests spliced, answers read, streams watched. Pure.

Same dialect in and out is relayed, not re-encoded. What must change in a request is cut out and replaced where it stands; what
must be known of an answer is read from the few events that carry it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from fw_gateway.values import Usage

MAX_EVENT: Final = 16 * 2**20
"""Bytes that one event may have; more is no event."""

MAX_HEAD: Final = 16 * 2**10
"""Bytes held back while no content has come; then the stream is committed as it is."""

_MODEL = re.compile(rb'"model"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]')
_INTEREST = re.compile(rb'"finish_reason"\s*:\s*"|"usage"\s*:\s*\{|"error"\s*:|data:\s*\[DONE\]|event:\s*error')
_BOUNDARY = re.compile(rb"(?:\r\n|\r|\n){2}")
_LINE = re.compile(r"\r\n|\r|\n")
_ERROR_EVENT = re.compile(r"(?:^|[\r\n])event:\s*error")
_CONTENT = ("content", "tool_calls", "function_call", "refusal", "reasoning_content", "reasoning", "audio")


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


def _replace(body: bytes, name: str, value: bytes) -> bytes:
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


def rewrite(body: bytes, fields: Mapping[str, Any], *, model: str, usage: bool) -> bytes:
    """The request as it goes upstream: another `model`, and `stream_options.include_usage` when `usage`; all else byte for byte.

    `fields` is `body`, parsed: an object with a textual `model`.
    """
    if fields["model"] != model:
        name = orjson.dumps(model)
        # One key of that spelling, and none spelt with escapes: then it is the top-level one.
        found = _MODEL.search(body) if body.count(b'"model"') == 1 and b"\\u006" not in body else None
        body = body[: found.start(1)] + name + body[found.end(1) :] if found else _replace(body, "model", name)
    if not usage:
        return body
    options = fields.get("stream_options")
    if "stream_options" not in fields:
        return with_member(body, "stream_options", {"include_usage": True})
    return _replace(body, "stream_options", orjson.dumps({**(options or {}), "include_usage": True}))


def with_member(body: bytes, name: str, value: Any) -> bytes:
    """The request with one more member, which it has not yet; it must have another."""
    brace = body.index(b"{") + 1
    return body[:brace] + orjson.dumps({name: value})[1:-1] + b"," + body[brace:]


def usage_of(found: Any) -> Usage | None:
    """Usage as it was reported; what is no whole number was not reported."""
    if not isinstance(found, Mapping):
        return None

    def number(holder: Any, name: str) -> int | None:
        value = holder.get(name) if isinstance(holder, Mapping) else None
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    incoming = found.get("prompt_tokens_details")
    return Usage(
        input_tokens=number(found, "prompt_tokens"),
        output_tokens=number(found, "completion_tokens"),
        cached_tokens=number(incoming, "cached_tokens"),
        cache_write_tokens=number(incoming, "cache_write_tokens"),
        reasoning_tokens=number(found.get("completion_tokens_details"), "reasoning_tokens"),
    )


@dataclass(slots=True)
class Answer:
    """What must be known of a whole answer."""

    id: str = ""
    model: str = ""
    usage: Usage | None = None
    finish_reasons: tuple[str, ...] = ()
    problem: str = ""
    """Why it is no answer; empty when it is one."""


def read_answer(body: bytes) -> Answer:
    """A non-streaming chat answer, read for the record and checked for being one."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Answer(problem="the upstream's answer is not JSON")
    if not isinstance(found, dict):
        return Answer(problem="the upstream's answer is no object")
    if found.get("error"):
        return Answer(problem=error_text(found["error"]) or "the upstream answered with an error")
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices:
        return Answer(problem="the upstream's answer has no choices")
    reasons = tuple(str(c["finish_reason"]) for c in choices if isinstance(c, dict) and c.get("finish_reason"))
    return Answer(_text(found.get("id")), _text(found.get("model")), usage_of(found.get("usage")), reasons)


def read_embeddings(body: bytes) -> Answer:
    """An embeddings answer, read for the record and checked for being one."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Answer(problem="the upstream's answer is not JSON")
    if not isinstance(found, dict) or not isinstance(found.get("data"), list):
        return Answer(problem="the upstream's answer has no data")
    return Answer(_text(found.get("id")), _text(found.get("model")), usage_of(found.get("usage")))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def error_text(found: Any) -> str:
    """The message of an error in any of the shapes that providers use."""
    if isinstance(found, Mapping):
        return _text(found.get("message")) or _text(found.get("detail"))
    return _text(found)


def event(payload: Mapping[str, Any]) -> bytes:
    """One event with a JSON payload."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def comment(text: str) -> bytes:
    """A comment, which clients skip."""
    return b": " + text.encode() + b"\n\n"


class Watcher:
    """Watches one stream: what may be relayed, when content began, whether it ended well, what it cost.

    `feed` takes what was read and returns what may go to the client now. Nothing goes before the first content; at most one
    incomplete event is held after it. Usage that the client did not ask for, and the terminator, never come out of `feed`.
    """

    __slots__ = (
        "_choices", "_done", "_finished", "_head", "_hide", "_rest", "chunks", "error", "id", "model",
        "problem", "started", "terminator", "usage",
    )  # fmt: skip

    def __init__(self, *, hide_usage: bool, choices: int = 1) -> None:
        """`choices`: how many answers were asked for (`n`); each must finish."""
        self._hide = hide_usage
        self._choices = choices
        self._rest = b""
        self._head: list[bytes] = []
        self._finished: dict[int, str] = {}
        self._done = False
        self.started = False
        """The first content has come; from here on the stream is the client's."""
        self.chunks = 0
        self.id = ""
        self.model = ""
        self.usage: Usage | None = None
        self.error: Mapping[str, Any] | None = None
        """The upstream's own error, in OpenAI's shape, if it sent one in band."""
        self.problem = ""
        """Why this is no stream at all."""
        self.terminator = b""
        """The upstream's own `[DONE]`, to be sent when all else has been; empty: it sent none."""

    @property
    def complete(self) -> bool:
        """Every choice has said why it finished: the answer is whole."""
        return len(self._finished) >= self._choices

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each choice finished."""
        return tuple(self._finished[index] for index in sorted(self._finished))

    @property
    def over(self) -> bool:
        """Nothing more is to be expected: the terminator came, or an error."""
        return self._done or self.error is not None or bool(self.problem)

    def feed(self, data: bytes) -> bytes:
        """Take a read; what may be relayed now."""
        buffer = self._rest + data if self._rest else data
        if b"\r" in buffer:
            end = max((found.end() for found in _BOUNDARY.finditer(buffer)), default=0)
        else:
            end = buffer.rfind(b"\n\n") + 2 if b"\n\n" in buffer else 0
        if not end:
            self._rest = buffer
            if len(buffer) > MAX_EVENT:
                self.problem = f"an event of the upstream is larger than {MAX_EVENT} bytes"
            return b""
        ready, self._rest = (buffer, b"") if end == len(buffer) else (buffer[:end], buffer[end:])
        return b"".join(self._each(ready))

    def _each(self, ready: bytes) -> Iterator[bytes]:
        """Whole events: those that say nothing of interest in one piece, the others one by one."""
        position, size, plain = 0, len(ready), b"\r" not in ready
        while position < size and (self._done or not self.over):
            if plain and self.started and not self._done:
                start = self._dull(ready, position)
                if start > position:
                    yield ready[position:start]
                    position = start
                    continue
            if plain:
                end = ready.index(b"\n\n", position) + 2
            else:
                boundary = _BOUNDARY.search(ready, position)
                end = boundary.end() if boundary is not None else size
            raw, position = ready[position:end], end
            if self._looked_at(raw):
                self._head.append(raw)
                if self.started or sum(map(len, self._head)) > MAX_HEAD:
                    self.started = True
                    yield from self._head
                    self._head.clear()

    def _dull(self, ready: bytes, position: int) -> int:
        """Where the next event of interest begins; everything before it is counted and may go as it is."""
        found = _INTEREST.search(ready, position)
        if found is None:
            start = len(ready)
        else:
            boundary = ready.rfind(b"\n\n", position, found.start())
            start = boundary + 2 if boundary >= 0 else position
        self.chunks += ready.count(b"\n\n", position, start)
        return start

    def _looked_at(self, raw: bytes) -> bool:
        """Learn from one event; whether it is to be relayed."""
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            self.problem = "an event of the upstream is not UTF-8"
            return False
        data = data_of(text)
        if data is None:
            return not self._done  # a comment, or a field we do not know
        if data.strip() == "[DONE]":
            self.terminator = self.terminator or raw
            self._done = True
            return False
        self.chunks += 1
        return self._read(raw, data, error=_ERROR_EVENT.search(text) is not None) and not self._done

    def _read(self, raw: bytes, data: str, *, error: bool) -> bool:
        """Read the payload of an event, if it may matter."""
        if self.started and _INTEREST.search(raw) is None:
            return True
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            self.problem = "" if self._done else "an event of the upstream is no JSON object"
            return False
        if error or found.get("error"):
            self.error = in_shape(found.get("error") or found)
            return False
        return self._learn(found)

    def _learn(self, found: dict[str, Any]) -> bool:
        self.id = self.id or _text(found.get("id"))
        self.model = self.model or _text(found.get("model"))
        choices = found.get("choices")
        choices = choices if isinstance(choices, list) else []
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            if choice.get("finish_reason"):
                index = choice.get("index")
                self._finished[index if isinstance(index, int) else 0] = str(choice["finish_reason"])
                self.started = True
            delta = choice.get("delta")
            if isinstance(delta, dict) and any(delta.get(name) for name in _CONTENT):
                self.started = True
        if found.get("usage"):
            self.usage = usage_of(found["usage"]) or self.usage
            return not (self._hide and not choices)
        return True


def data_of(text: str) -> str | None:
    """The `data` of one event; None when it has none."""
    lines = _LINE.split(text.lstrip("\ufeff"))
    found = [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]
    return "\n".join(found) if found else None


def in_shape(found: Any) -> dict[str, Any]:
    """An upstream's error in OpenAI's shape; its own type, code and message are kept."""
    if isinstance(found, Mapping):
        return {
            "message": error_text(found) or "the upstream failed",
            "type": _text(found.get("type")) or "upstream_error",
            "param": found.get("param"),
            "code": found.get("code"),
        }
    return {"message": _text(found) or "the upstream failed", "type": "upstream_error", "param": None, "code": None}
