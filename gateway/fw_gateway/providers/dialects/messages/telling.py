"""Events written as a stream of Messages: one block after the other, in strict order."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from fw_gateway.providers.dialects.messages.answers import finish_of, write_usage
from fw_gateway.providers.dialects.messages.errors import error_body, status_of
from fw_gateway.providers.dialects.messages.parts import signature_of
from fw_gateway.providers.dialects.messages.words import NAME
from fw_gateway.providers.form import (
    Begin,
    Close,
    Counted,
    Erred,
    Event,
    Finish,
    Losses,
    More,
    Opaque,
    Open,
    Reasoning,
    Refusal,
    Request,
    Text,
    ToolCall,
)
from fw_gateway.providers.gather import LOGPROBS, Growing, joined, likely
from fw_gateway.providers.sse import frame
from fw_gateway.providers.wire import put
from fw_gateway.values import Usage


@dataclass(slots=True)
class _Block:
    """A part that is a block, or waits for its turn to be one."""

    growing: Growing
    waiting: list[str] = field(default_factory=list)
    """Words that came before its turn."""
    cited: list[Any] = field(default_factory=list)
    """Citations that came before its turn."""
    sealed: bool = False
    """Thoughts that only Anthropic can read: a block without words."""
    started: bool = False
    closed: bool = False


class Writer:
    """Writes one stream. Parts that are told side by side become blocks one after the other: those behind wait for their turn.

    What comes for a part that is not open, for another choice than the first, or after the finish, is left out.
    """

    __slots__ = (
        "_begun", "_finish", "_id", "_maker", "_model", "_number", "_open", "_over", "_queue", "_told", "_usage",
        "losses",
    )  # fmt: skip

    def __init__(
        self, asked: Request | None, *, seed: str = "", source: str = "", losses: Losses | None = None
    ) -> None:
        """`asked`: what is answered; `seed`: what an id is made of, until the stream says its own; `source`: the dialect that is read from."""
        self._id, self._model = f"msg_{seed}", asked.model if asked is not None else ""
        self._maker, self.losses = source or NAME, losses if losses is not None else Losses()
        self._queue: list[_Block] = []
        self._open: dict[int, _Block] = {}
        self._number = 0
        self._told: set[type] = set()
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._begun = self._over = False

    def write(self, event: Event) -> bytes:
        """The bytes that tell one event; often none."""
        if self._over:
            return b""
        match event:
            case Counted():
                self._usage = joined(self._usage, event.usage)
                return b""
            case Erred():
                return self.fail(event.message, event.kind, event.code)
            case Begin():
                return self._begin(event)
            case Open() | More() | Close() | Finish():
                if event.choice or self._finish is not None:
                    return b""
                return self._begin(Begin()) + b"".join(self._take(event))

    def end(self) -> bytes:
        """The end of a stream that told all it had: why it stopped, usage, the stop."""
        if self._over:
            return b""
        out = self.write(Finish("")) if self._finish is None else b""
        self._over = True
        finish = self._finish or Finish("")
        usage = {name: value for name, value in write_usage(self._usage or Usage()).items() if value is not None}
        usage.setdefault("output_tokens", 0)
        delta = {"stop_reason": self._reason(finish), "stop_sequence": finish.sequence}
        return out + _event("message_delta", delta=delta, usage=usage) + _event("message_stop")

    def fail(self, message: str, kind: str = "", code: str = "") -> bytes:
        """An error in band, after which nothing follows."""
        if self._over:
            return b""
        self._over = True
        return frame(error_body(status_of(kind), message, kind, code), "error")

    def _begin(self, begin: Begin) -> bytes:
        self._usage = joined(self._usage, begin.usage)
        if self._begun:
            return b""
        self._begun = True
        self._id, self._model = begin.id or self._id, begin.model or self._model
        known = {name: value for name, value in write_usage(self._usage or Usage()).items() if value is not None}
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0, **known},
        }
        return _event("message_start", message=message)

    def _take(self, event: Open | More | Close | Finish) -> Iterator[bytes]:
        match event:
            case Open() if isinstance(event.part, Text | Refusal | Reasoning | ToolCall) or self._own(event.part):
                self._add(event)
            case More() | Close() if event.index in self._open and likely(event):
                self.losses.add("logprobs")
                yield from self._take(replace(event, extra={n: v for n, v in event.extra.items() if n != LOGPROBS}))
                return
            case More() if event.index in self._open:
                self._grow(self._open[event.index], event)
            case Close() if event.index in self._open:
                block = self._open.pop(event.index)
                block.growing.add(event)
                block.closed = True
            case Finish():
                self._finish = event
                self._open.clear()
                for block in self._queue:
                    block.closed = True
            case _:
                return
        yield from self._advance()

    def _ours(self, part: Reasoning) -> bool:
        return (part.maker or self._maker) == NAME

    def _own(self, part: Any) -> bool:
        return isinstance(part, Opaque) and part.dialect == NAME

    def _add(self, event: Open) -> None:
        """Take a part into the queue; what it holds already waits as if it came after."""
        part, words = event.part, ""
        self._told.add(type(part))
        match part:
            case Text() | Refusal() | Reasoning():
                words, part = part.text, replace(part, text="")
            case ToolCall():
                words, part = part.arguments, replace(part, arguments="")
            case _:
                pass
        before = self._open.get(event.index)
        if before is not None:
            before.closed = True
        block = _Block(Growing(part), [words] if words else [])
        block.sealed = isinstance(part, Reasoning) and bool(part.sealed) and not words and self._ours(part)
        self._open[event.index] = block
        self._queue.append(block)

    def _grow(self, block: _Block, event: More) -> None:
        if event.text and not block.sealed and type(block.growing.part) in _DELTAS:
            block.waiting.append(event.text)
        if isinstance(block.growing.part, Reasoning):
            block.growing.add(replace(event, text=""))
        elif self._maker == NAME and isinstance(block.growing.part, Text):
            block.cited += event.extra.get("citations") or ()

    def _advance(self) -> Iterator[bytes]:
        """Tell what the first in the queue has to say, and go on to the next once it is whole."""
        while self._queue:
            block = self._queue[0]
            yield from self._speak(block)
            if not block.closed:
                return
            if block.started:
                yield _event("content_block_stop", index=self._number)
                self._number += 1
            self._queue.pop(0)

    def _speak(self, block: _Block) -> Iterator[bytes]:
        part = block.growing.part
        words, seal = "".join(block.waiting), self._seal(block) if block.closed else ""
        block.waiting.clear()
        begins = {} if block.started else self._begins(part, sealed=block.sealed)
        plain = begins in ({"type": "text", "text": ""}, {"type": "thinking", "thinking": "", "signature": ""})
        if not block.started and (words or seal or block.cited or not plain):  # nothing to say is no block
            block.started = True
            yield _event("content_block_start", index=self._number, content_block=begins)
        if words:
            yield self._delta(_DELTAS[type(part)], words)
        for citation in block.cited:
            yield self._delta(("citations_delta", "citation"), citation)
        block.cited.clear()
        if seal:
            yield self._delta(("signature_delta", "signature"), seal)

    def _delta(self, kind: tuple[str, str], value: Any) -> bytes:
        return _event("content_block_delta", index=self._number, delta={"type": kind[0], kind[1]: value})

    def _begins(self, part: Any, *, sealed: bool) -> dict[str, Any]:
        """A block as it begins."""
        out: dict[str, Any]
        match part:
            case Opaque():
                return dict(part.value)
            case ToolCall():
                out = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
            case Reasoning() if sealed:
                return {"type": "redacted_thinking", "data": part.sealed}
            case Reasoning():
                return {"type": "thinking", "thinking": "", "signature": ""}
            case _:
                out = {"type": "text", "text": ""}
        if self._maker == NAME:
            put(out, part.extra)
        return out

    def _seal(self, block: _Block) -> str:
        """The signature of thoughts, which may be known in full only at their end."""
        part = block.growing.part
        if not isinstance(part, Reasoning) or block.sealed:
            return ""
        whole = block.growing.thoughts(part)
        return signature_of(whole, whole.maker or self._maker)

    def _reason(self, finish: Finish) -> str:
        if self._maker == NAME and finish.raw:
            return finish.raw
        reason = finish.reason
        if reason in {"stop", ""} and ToolCall in self._told:
            reason = "tool_calls"
        elif reason in {"stop", ""} and Refusal in self._told:
            reason = "refusal"
        return finish_of(reason, "", self.losses)


_DELTAS = {
    Text: ("text_delta", "text"),
    Refusal: ("text_delta", "text"),
    Reasoning: ("thinking_delta", "thinking"),
    ToolCall: ("input_json_delta", "partial_json"),
}


def _event(kind: str, **members: Any) -> bytes:
    return frame({"type": kind, **members}, kind)
