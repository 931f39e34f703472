"""A stream of Messages read into events."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fw_gateway.providers.dialects.messages.answers import read_usage
from fw_gateway.providers.dialects.messages.errors import read_error
from fw_gateway.providers.dialects.messages.parts import unpacked_signature
from fw_gateway.providers.dialects.messages.words import NAME, REASONS
from fw_gateway.providers.form import (
    Begin,
    Close,
    Counted,
    Erred,
    Event,
    Finish,
    More,
    Opaque,
    Open,
    Part,
    Reasoning,
    Text,
    ToolCall,
)
from fw_gateway.providers.sse import payload_of
from fw_gateway.providers.wire import Members, object_of, text_of
from fw_gateway.values import Usage


@dataclass(slots=True)
class _Block:
    """A block that is open."""

    part: int
    tool: bool = False
    given: Any = None
    """Arguments, or the whole of a block that the form has no word for, as they stood at the beginning."""
    opaque: bool = False
    json: list[str] = field(default_factory=list)


class Reader:
    """Reads one stream, event by event. Tolerates what it does not know; what follows the reason to stop is left out."""

    __slots__ = ("_begun", "_blocks", "_finished", "_parts", "_usage", "complete")

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._parts = 0
        self._usage: dict[str, Any] = {}
        self._begun = self._finished = False
        self.complete = False
        """The message has stopped: the answer is whole."""

    def feed(self, name: str, data: str) -> list[Event]:
        """What one server-sent event tells. Raises Unreadable when its data is no JSON object."""
        found = payload_of(data)
        kind = _text(found, "type") or name
        if kind == "error":
            return [Erred(*read_error(found, 500))]
        return list(self._told(kind, found))

    def _told(self, kind: str, found: Mapping[str, Any]) -> Iterator[Event]:
        match kind:
            case "message_start":
                yield from self._begin(_object(found, "message"))
            case "content_block_start" if not self._finished:
                yield from self._begin({})
                yield from self._start(_index(found), _object(found, "content_block"))
            case "content_block_delta" if not self._finished:
                yield from self._delta(_index(found), _object(found, "delta"))
            case "content_block_stop":
                yield from self._stop(_index(found))
            case "message_delta":
                yield from self._outcome(found)
            case "message_stop":
                yield from self._finish(Finish(""))
                self.complete = True
            case _:
                pass

    def _begin(self, message: Mapping[str, Any]) -> Iterator[Event]:
        usage = self._counted(_object(message, "usage"))
        if not self._begun:
            self._begun = True
            yield Begin(_text(message, "id"), _text(message, "model"), usage=usage)

    def _counted(self, found: Mapping[str, Any]) -> Usage | None:
        """Counts are of the whole message: a later one stands in place of the former."""
        self._usage |= {name: value for name, value in found.items() if value is not None}
        return read_usage(Members(self._usage)) if found else None

    def _start(self, index: int, found: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._stop(index)  # an index that comes twice
        block = self._blocks[index] = _Block(self._parts)
        self._parts += 1
        part, more = _begun(found)
        if isinstance(part, Opaque):
            block.opaque, block.given = True, part.value
            return
        if isinstance(part, ToolCall):
            block.tool, block.given = True, found.get("input")
        yield Open(block.part, part)
        if more != More(0):
            yield More(block.part, more.text, more.signature, extra=more.extra)

    def _delta(self, index: int, found: Mapping[str, Any]) -> Iterator[Event]:
        kind = _text(found, "type")
        if index not in self._blocks and kind in {"text_delta", "thinking_delta"}:
            yield from self._start(index, {"type": kind.removesuffix("_delta")})
        block = self._blocks.get(index)
        if block is None:
            return
        if kind == "input_json_delta":
            words = _text(found, "partial_json")
            if words:
                block.json.append(words)
            if words and block.tool:
                yield More(block.part, words)
        elif not block.opaque:
            more = _more(block.part, kind, found)
            if more != More(block.part):
                yield more

    def _stop(self, index: int) -> Iterator[Event]:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        if block.opaque:
            told = object_of("".join(block.json)) if block.json else None
            yield Open(block.part, Opaque(NAME, block.given if told is None else {**block.given, "input": told}))
        elif block.tool and not block.json:
            yield More(block.part, text_of(block.given if isinstance(block.given, Mapping) else {}))
        yield Close(block.part)

    def _outcome(self, found: Mapping[str, Any]) -> Iterator[Event]:
        delta, usage = _object(found, "delta"), self._counted(_object(found, "usage"))
        raw = _text(delta, "stop_reason")
        if raw:
            sequence = delta.get("stop_sequence")
            yield from self._finish(Finish(REASONS.get(raw, ""), raw, sequence if isinstance(sequence, str) else None))
        if usage is not None:
            yield Counted(usage)

    def _finish(self, finish: Finish) -> Iterator[Event]:
        if self._finished:
            return
        self._finished = True
        yield from self._begin({})
        for index in list(self._blocks):
            yield from self._stop(index)
        yield finish


def _begun(found: Mapping[str, Any]) -> tuple[Part, More]:
    """The part that a block begins, and what the block says of it already."""
    match found.get("type"):
        case "text":
            rest = {name: value for name, value in found.items() if name not in {"type", "text"} and value is not None}
            return Text("", rest), More(0, _text(found, "text"))
        case "thinking":
            return Reasoning(), _signed(More(0, _text(found, "thinking")), _text(found, "signature"))
        case "redacted_thinking":
            return Reasoning(sealed=_text(found, "data")), More(0)
        case "tool_use":
            rest = {name: value for name, value in found.items() if name not in {"type", "id", "name", "input"}}
            return ToolCall(_text(found, "id"), _text(found, "name"), "", rest), More(0)
        case _:
            return Opaque(NAME, dict(found)), More(0)


def _more(part: int, kind: str, found: Mapping[str, Any]) -> More:
    match kind:
        case "text_delta":
            return More(part, _text(found, "text"))
        case "thinking_delta":
            return More(part, _text(found, "thinking"))
        case "signature_delta":
            return _signed(More(part), _text(found, "signature"))
        case "citations_delta" if found.get("citation") is not None:
            return More(part, extra={"citations": [found["citation"]]})
        case _:
            return More(part)


def _signed(more: More, signature: str) -> More:
    known = unpacked_signature(signature)
    late = {name: value for name, value in known.items() if name != "signature" and value}
    return More(more.index, more.text, known["signature"], extra=late)


def _index(found: Mapping[str, Any]) -> int:
    value = found.get("index")
    return value if isinstance(value, int) else 0


def _object(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) else ""
