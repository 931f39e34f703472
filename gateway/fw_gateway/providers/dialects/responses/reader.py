"""Streams of the Responses API, to events of the form."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fw_gateway.providers import form
from fw_gateway.providers.dialects.responses.answer import read_reason, read_usage
from fw_gateway.providers.dialects.responses.items import read_spoken
from fw_gateway.providers.dialects.responses.parts import ITEM, read_part, rest
from fw_gateway.providers.gather import LOGPROBS
from fw_gateway.providers.openai import read_error
from fw_gateway.providers.sse import payload_of

_WORDS: Final = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "thought",
    "response.reasoning_summary_text.delta": "summary",
    "response.function_call_arguments.delta": "call",
    "response.output_text.done": "text",
    "response.refusal.done": "refusal",
    "response.reasoning_text.done": "thought",
    "response.reasoning_summary_text.done": "summary",
    "response.function_call_arguments.done": "call",
}
"""Events with words of a part, some of them or all, by the kind of the part."""

_BEGINS: Final = frozenset(
    {
        "response.content_part.added",
        "response.reasoning_part.added",
        "response.reasoning_summary_part.added",
    }
)
_PARTS: Final = {"output_text": "text", "refusal": "refusal", "reasoning_text": "thought", "summary_text": "summary"}
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_THINKS: Final = frozenset({"thought", "summary"})
_THOUGHT: Final = ("type", "id", "summary", "content", "encrypted_content", "status")


@dataclass(slots=True)
class _Part:
    """A part of the form that has begun."""

    index: int
    kind: str
    number: int
    """Its place in the item's content, or summary."""
    size: int = 0
    """Characters that came."""
    extra: form.Extra = form.NONE
    """What the part said of itself when it was whole."""
    likely: bool = False
    """Its tokens have been said how likely they were."""
    over: bool = False

    def late(self, whole: form.Part) -> dict[str, Any]:
        """What is known of it now that it is `whole`."""
        extra = dict(getattr(whole, "extra", form.NONE))
        if isinstance(whole, form.Text) and whole.logprobs and not self.likely:
            extra[LOGPROBS] = [*whole.logprobs]
        return extra


@dataclass(slots=True)
class _Item:
    """An output item that has begun."""

    value: Mapping[str, Any]
    parts: list[_Part] = field(default_factory=list)
    over: bool = False


class Reader:
    """Reads one stream, event by event. What a server leaves out (the beginning of a part, its deltas) is made up for.

    `complete`: the response said that it is completed, or incomplete and why.
    """

    def __init__(self) -> None:
        self.complete = False
        self._items: dict[int, _Item] = {}
        self._count = 0
        self._calls = False
        self._out: list[form.Event] = []

    def feed(self, name: str, data: str) -> list[form.Event]:
        """Take one event: its name ("": none) and its data.

        Raises:
            Unreadable: it is none of this dialect.
        """
        if data.strip() == "[DONE]":
            return []
        found = payload_of(data)
        self._out = []
        self._take(str(found.get("type") or name), found)
        return self._out

    def _take(self, kind: str, found: Mapping[str, Any]) -> None:
        place = _number(found, "output_index")
        if kind in {"error", "response.failed"} or (found.get("error") and "type" not in found):
            self._out.append(_erred(found))
        elif kind == "response.created":
            self._out.append(_begin(_object(found, "response")))
        elif kind in _ENDS:
            self._end(_object(found, "response"), kind)
        elif kind == "response.output_item.added":
            self._add(place, _object(found, "item"))
        elif kind == "response.output_item.done":
            self._whole(place, _object(found, "item"))
        elif place in self._items and kind in _BEGINS:
            if name := _PARTS.get(str(_object(found, "part").get("type"))):
                self._begin(self._items[place], name, _place(name, found))
        elif place in self._items and kind == "response.content_part.done":
            value = _object(found, "part")
            if name := _PARTS.get(str(value.get("type"))):
                part = self._part(self._items[place], name, found)
                part.extra = {} if name == "thought" else part.late(read_part(value, ""))
        elif place in self._items and kind in _WORDS:
            part = self._part(self._items[place], _WORDS[kind], found)
            if kind.endswith(".delta"):
                self._say(part, str(found.get("delta") or ""), found.get("logprobs"))
            else:
                said = found.get("arguments") or found.get("refusal") or found.get("text") or ""
                self._say(part, str(said)[part.size :])

    def _open(self, part: form.Part) -> int:
        self._calls = self._calls or isinstance(part, form.ToolCall)
        self._out.append(form.Open(self._count, part))
        self._count += 1
        return self._count - 1

    def _add(self, place: int, value: Mapping[str, Any]) -> None:
        """An item begins. A call is a part at once; others begin with their own parts."""
        item = self._items[place] = _Item(value)
        if value.get("type") == "function_call":
            begun = {"call_id": "", "name": "", **value, "arguments": ""}
            item.parts.append(_Part(self._open(read_spoken(rest(begun, "status"), f"output[{place}]")[0]), "call", 0))
            self._say(item.parts[0], str(value.get("arguments") or ""))

    def _begin(self, item: _Item, kind: str, number: int) -> _Part:
        """A part of an item begins; those before it in the item are over."""
        for part in item.parts:
            self._close(part, part.extra)
        found: form.Part
        if kind in _THINKS:
            extra = {} if item.parts else rest(item.value, *_THOUGHT)
            found = form.Reasoning(id=str(item.value.get("id") or ""), summary=kind == "summary", extra=extra)
        else:
            found = form.Refusal("") if kind == "refusal" else form.Text("")
            if not item.parts:
                members = rest(item.value, "type", "role", "content", "status", mute=("id",))
                extra = {ITEM: form.Rest({"type": form.Spelt("message"), **members})}
                found = replace(found, extra=extra)
        begun = _Part(self._open(found), kind, number)
        item.parts.append(begun)
        return begun

    def _part(self, item: _Item, kind: str, found: Mapping[str, Any]) -> _Part:
        """The part that an event speaks of: the one of that number, else the last one that goes on, else one that begins now."""
        number = _place(kind, found)
        same = [part for part in item.parts if part.kind == kind]
        exact = [part for part in same if part.number == number]
        return exact[0] if exact else same[-1] if same and not same[-1].over else self._begin(item, kind, number)

    def _say(self, part: _Part, words: str, likely: Any = None) -> None:
        tokens = likely if part.kind == "text" and isinstance(likely, list) else []
        if (words or tokens) and not part.over:
            part.size += len(words)
            part.likely = part.likely or bool(tokens)
            self._out.append(form.More(part.index, words, extra={LOGPROBS: tokens} if tokens else form.NONE))

    def _close(self, part: _Part, extra: form.Extra = form.NONE) -> None:
        if not part.over:
            part.over = True
            self._out.append(form.Close(part.index, extra=extra))

    def _whole(self, place: int, value: Mapping[str, Any]) -> None:
        """An item is whole: what of it has not come yet comes now."""
        item = self._items.get(place)
        if item is None:
            item = self._items[place] = _Item(value)
        if item.over:
            return
        item.over, item.value = True, value
        begun = list(item.parts)
        for part in read_spoken(value, f"output[{place}]"):
            kind = _kind(part)
            known = next((each for each in begun if each.kind == kind), None)
            if known is not None:
                begun.remove(known)
                self._say(known, _words(part)[known.size :])
                self._close(known, known.late(part))
            else:
                likely = {LOGPROBS: [*part.logprobs]} if isinstance(part, form.Text) and part.logprobs else form.NONE
                begins = replace(part, logprobs=None) if isinstance(part, form.Text) else part
                self._out += [form.Open(self._count, begins), form.Close(self._count, extra=likely)]
                self._calls = self._calls or kind == "call"
                self._count += 1
        for each in begun:
            self._close(each)

    def _end(self, response: Mapping[str, Any], kind: str) -> None:
        output = response.get("output")
        for place, value in enumerate(output if isinstance(output, list) else []):
            if isinstance(value, Mapping):
                self._whole(place, value)
        for item in self._items.values():
            for part in item.parts:
                self._close(part)
        usage, _ = read_usage(response.get("usage"))
        if usage is not None:
            self._out.append(form.Counted(usage))
        status = response.get("status") or kind.removeprefix("response.")
        reason, raw = read_reason({**response, "status": status}, calls=self._calls)
        self._out.append(form.Finish(reason, raw))
        self.complete = True


def _object(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    return value if isinstance(value, int) else 0


def _place(kind: str, found: Mapping[str, Any]) -> int:
    return _number(found, "summary_index" if kind == "summary" else "content_index")


def _kind(part: form.Part) -> str:
    match part:
        case form.Text():
            return "text"
        case form.Refusal():
            return "refusal"
        case form.ToolCall():
            return "call"
        case form.Reasoning(text=words, summary=summary) if words:
            return "summary" if summary else "thought"
        case _:
            return ""


def _words(part: form.Part) -> str:
    match part:
        case (
            form.Text(text=words)
            | form.Refusal(text=words)
            | form.Reasoning(text=words)
            | form.ToolCall(arguments=words)
        ):
            return words
        case _:
            return ""


def _begin(response: Mapping[str, Any]) -> form.Begin:
    created = response.get("created_at")
    return form.Begin(
        str(response.get("id") or ""),
        str(response.get("model") or ""),
        int(created) if isinstance(created, int | float) else None,
    )


def _erred(found: Mapping[str, Any]) -> form.Erred:
    """What an event says that went wrong; it says so flat, or in an `error`, or in that of the response."""
    said = found.get("error") or _object(found, "response").get("error") or rest(found, "type")
    message, kind, code = read_error({"error": said}, 500)
    return form.Erred(message or "the upstream's response failed", kind, code)
