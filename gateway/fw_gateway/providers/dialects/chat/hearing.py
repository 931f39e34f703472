"""A stream of chat chunks read into events, whatever liberties its server takes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fw_gateway.providers.dialects.chat.answers import read_usage, reason_of
from fw_gateway.providers.dialects.chat.parts import SIGNED_BY
from fw_gateway.providers.form import (
    NONE,
    Begin,
    Close,
    Counted,
    Erred,
    Event,
    Finish,
    More,
    Open,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from fw_gateway.providers.gather import LOGPROBS
from fw_gateway.providers.openai import read_error
from fw_gateway.providers.sse import payload_of
from fw_gateway.providers.wire import Members, object_of

_NO_ID = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(slots=True)
class _Call:
    """A call while it is told. It is opened once its name and id are known."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    part: int | None = None


@dataclass(slots=True)
class _Spoken:
    """What one choice has said so far."""

    number: int
    parts: int = 0
    open: dict[str, int] = field(default_factory=dict)
    """Words and thoughts that are open, by kind."""
    thoughts: list[str] = field(default_factory=list)
    """Text of the open thoughts."""
    calls: list[_Call] = field(default_factory=list)
    at: dict[int, _Call] = field(default_factory=dict)
    """The call that an index means now."""
    likely: list[Any] = field(default_factory=list)
    """What was said of tokens before the text that they are of, or beside something else."""
    finished: bool = False


class Reader:
    """Reads one stream, event by event. Tolerates what it does not know; what follows a choice's end is left out."""

    __slots__ = ("_begun", "_choices", "_id", "_spoken")

    def __init__(self, *, choices: int = 1) -> None:
        """`choices`: how many answers were asked for (`n`); each must finish."""
        self._choices = choices
        self._spoken: dict[int, _Spoken] = {}
        self._begun = False
        self._id = ""

    @property
    def complete(self) -> bool:
        """Every choice has said why it finished: the answer is whole."""
        return sum(spoken.finished for spoken in self._spoken.values()) >= self._choices

    def feed(self, name: str, data: str) -> list[Event]:
        """What one server-sent event tells. Raises Unreadable when its data is no JSON object."""
        if data.strip() == "[DONE]":
            return []
        chunk = payload_of(data)
        if name == "error" or chunk.get("error"):
            return [Erred(*read_error(chunk, 500))]
        return list(self._chunk(chunk))

    def _chunk(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        members = Members(chunk)
        found = chunk.get("choices")
        choices = [choice for choice in found if isinstance(choice, Mapping)] if isinstance(found, list) else []
        id_, model = _text(chunk, "id"), _text(chunk, "model")
        if not self._begun and (choices or id_):
            self._begun, self._id = True, id_
            yield Begin(id_, model, members.count("created"))
        for choice in choices:
            index = choice.get("index")
            index = index if isinstance(index, int) else 0
            yield from self._choice(choice, self._spoken.setdefault(index, _Spoken(index)))
        usage = chunk.get("usage")
        if isinstance(usage, Mapping):
            yield Counted(read_usage(Members(usage)))

    def _choice(self, choice: Mapping[str, Any], spoken: _Spoken) -> Iterator[Event]:
        if spoken.finished:
            return
        delta = choice.get("delta") or choice.get("message")
        likely = choice.get("logprobs")
        tokens = likely.get("content") if isinstance(likely, Mapping) else None
        spoken.likely += tokens if isinstance(tokens, list) else ()
        if isinstance(delta, Mapping):
            yield from _thoughts(delta, spoken)
            yield from _words("text", _content(delta.get("content")), spoken)
            yield from _words("refusal", _text(delta, "refusal"), spoken)
            yield from self._calls(delta, spoken)
        raw = _text(choice, "finish_reason")
        if raw:
            yield from _words("text", "", spoken)  # what is said of its last token
            for call in spoken.calls:
                yield from self._open(call, spoken, last=True)
            yield from _closed(spoken)
            said = [call.part for call in spoken.calls if call.part is not None]
            rest = {LOGPROBS: spoken.likely} if spoken.likely else NONE  # of tokens that were no text: the last call's
            yield from (Close(part, spoken.number, rest if part == said[-1] else NONE) for part in said)
            spoken.finished = True
            reason, sequence = reason_of(raw, choice.get("stop_reason"))
            yield Finish(reason, raw, sequence, spoken.number)

    def _calls(self, delta: Mapping[str, Any], spoken: _Spoken) -> Iterator[Event]:
        found = delta.get("tool_calls")
        items = [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []
        if isinstance(delta.get("function_call"), Mapping):
            items.append({"index": -1, "function": delta["function_call"]})  # what calls were called before
        for item in items:
            function = item.get("function")
            function = function if isinstance(function, Mapping) else {}
            call = _call_of(item, _text(function, "name"), spoken)
            call.id = call.id or _text(item, "id")
            call.name = call.name or _text(function, "name")
            more = _text(function, "arguments")
            if call.part is not None and more:
                yield More(call.part, more, choice=spoken.number)
            call.arguments.append(more)
            yield from self._open(call, spoken, last=False)

    def _open(self, call: _Call, spoken: _Spoken, *, last: bool) -> Iterator[Event]:
        """Open a call once it can be; at the `last` with an id of our own making."""
        if call.part is not None or not (last or (call.id and call.name)):
            return
        number = spoken.calls.index(call)
        call.id = call.id or f"call_{_NO_ID.sub('', self._id)}_{spoken.number}_{number}"
        yield from _closed(spoken)
        call.part, spoken.parts = spoken.parts, spoken.parts + 1
        yield Open(call.part, ToolCall(call.id, call.name, ""), spoken.number)
        arguments = "".join(call.arguments)
        if arguments:
            yield More(call.part, arguments, choice=spoken.number)


def _call_of(item: Mapping[str, Any], name: str, spoken: _Spoken) -> _Call:
    """The call that a delta goes on with, or a new one. Some servers give every call the same index, or no id, or both again each time."""
    id_, index = _text(item, "id"), item.get("index")
    index = index if isinstance(index, int) and not isinstance(index, bool) else None
    same = next((call for call in spoken.calls if id_ and call.id == id_), None)
    if same is not None:
        return same
    current = spoken.at.get(index) if index is not None else next(reversed(spoken.calls), None)
    if current is None or _other(current, id_, name):
        current = _Call()
        spoken.calls.append(current)
        if index is not None:
            spoken.at[index] = current
    return current


def _other(current: _Call, id_: str, name: str) -> bool:
    """Whether a delta that names a function begins another call than the one its index means."""
    if not name or not current.name:
        return False
    if id_ and current.id:
        return True
    return name != current.name or (not id_ and object_of("".join(current.arguments) or "[]") is not None)


def _opened(kind: str, part: Text | Refusal | Reasoning, spoken: _Spoken) -> Iterator[Event]:
    """Open words or thoughts, if they are not; of these only one is open at a time."""
    if kind in spoken.open:
        return
    yield from _closed(spoken)
    spoken.open[kind], spoken.parts = spoken.parts, spoken.parts + 1
    yield Open(spoken.open[kind], part, spoken.number)


def _closed(spoken: _Spoken) -> Iterator[Event]:
    for index in spoken.open.values():
        yield Close(index, spoken.number)
    spoken.open.clear()
    spoken.thoughts.clear()


def _words(kind: str, text: str, spoken: _Spoken) -> Iterator[Event]:
    """More of a text or a refusal; some tokens of a text have no words of their own."""
    likely = spoken.likely if kind == "text" and (text or kind in spoken.open) else []
    if text:
        yield from _opened(kind, Refusal("") if kind == "refusal" else Text(""), spoken)
    if text or likely:
        yield More(spoken.open[kind], text, choice=spoken.number, extra={LOGPROBS: [*likely]} if likely else NONE)
        likely.clear()


def _thoughts(delta: Mapping[str, Any], spoken: _Spoken) -> Iterator[Event]:
    """Thoughts come as text, as blocks, or as both. A block without words, or with all words so far, is the seal of the open thoughts."""
    text = _text(delta, "reasoning_content") or _text(delta, "reasoning")
    blocks = delta.get("thinking_blocks")
    for block in blocks if isinstance(blocks, list) else ():
        if not isinstance(block, Mapping):
            continue
        sealed, words, signature = _text(block, "data"), _text(block, "thinking"), _text(block, "signature")
        maker = {"maker": _text(block, "maker") or SIGNED_BY}
        late = (
            maker
            | {name: block[name] for name in ("id", "summary") if block.get(name)}
            | ({"sealed": sealed} if sealed else {})
        )
        if block.get("type") == "redacted_thinking":
            yield from _closed(spoken)
            yield from _opened("reasoning", Reasoning(**{"sealed": "", **late}), spoken)
            yield from _closed(spoken)
            continue
        whole = "reasoning" in spoken.open and words != text and words == "".join(spoken.thoughts)
        if words and not whole:
            text = "" if words == text else text
            yield from _thought(words, spoken)
        if signature or whole:
            yield from _opened("reasoning", Reasoning(), spoken)
            yield More(spoken.open["reasoning"], signature=signature, choice=spoken.number, extra=late)
            yield from _closed(spoken)
    yield from _thought(text, spoken)


def _thought(text: str, spoken: _Spoken) -> Iterator[Event]:
    if text:
        yield from _opened("reasoning", Reasoning(), spoken)
        spoken.thoughts.append(text)
        yield More(spoken.open["reasoning"], text, choice=spoken.number)


def _content(found: Any) -> str:
    """Words; some servers send them as parts."""
    if isinstance(found, list):
        return "".join(_text(part, "text") for part in found if isinstance(part, Mapping))
    return found if isinstance(found, str) else ""


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) else ""
