"""Events of the form, to a stream of the Responses API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fw_gateway.providers import form
from fw_gateway.providers.dialects.responses.answer import (
    PREFIXES,
    failure,
    item_status,
    shell,
    write_reason,
    write_usage,
)
from fw_gateway.providers.dialects.responses.parts import ITEM, NAME, Path, continues, write_reasoning
from fw_gateway.providers.gather import Growing, joined, likely
from fw_gateway.providers.sse import frame

_FIXED: Final = ("type", "id", "status", "content", "role")
"""Members of an item that the writer itself gives it."""

_DELTA: Final = {
    "text": "output_text",
    "refusal": "refusal",
    "thought": "reasoning_text",
    "summary": "reasoning_summary_text",
    "call": "function_call_arguments",
}
_MEMBER: Final = {"text": "text", "refusal": "refusal", "thought": "text", "summary": "text", "call": "arguments"}


@dataclass(slots=True)
class _Item:
    """An output item that has begun."""

    index: int
    value: dict[str, Any]
    parts: list["_Part"] = field(default_factory=list)
    left: bool = False
    """Another one has begun: nothing joins it any more."""
    over: bool = False


@dataclass(slots=True)
class _Part:
    """A part of the form that has begun, and where it stands."""

    growing: Growing
    kind: str
    item: _Item | None
    number: int = -1
    """Its place in the item's content, or summary; -1: it has none yet."""
    words: list[str] = field(default_factory=list)
    over: bool = False


class Writer:
    """Writes one stream: every item and part begins once and ends once, whatever the order in which its parts come.

    An item ends when the next one has begun and none of its parts is open. Of several answers, only the first is written.
    """

    def __init__(
        self,
        asked: form.Request | None,
        *,
        seed: str = "",
        created: int = 0,
        source: str = "",
        losses: form.Losses | None = None,
    ) -> None:
        """`asked`: what is answered; `source`: the dialect that is read from; `losses`: where to name what cannot be said.

        Ids are made of `seed`, unless the stream's own are this dialect's. Until the stream says so, it was `created` then (Unix seconds).
        """
        self.losses = losses if losses is not None else form.Losses()
        self._shell = {**shell(asked), "id": f"resp_{seed}", "object": "response", "created_at": created}
        self._shell["model"] = asked.model if asked is not None else ""
        self._seed, self._maker = seed, source or NAME
        self._sequence = 0
        self._begun = self._ended = False
        self._items: list[_Item] = []
        self._open: dict[int, _Part] = {}
        self._finish: form.Finish | None = None
        self._usage = form.Begin().usage
        self._refused = False
        self._out: list[bytes] = []

    def write(self, event: form.Event) -> bytes:
        """What goes to the client now."""
        if self._ended:
            return b""
        if getattr(event, "choice", 0):
            self.losses.add(f"choices[{getattr(event, 'choice', 0)}]")
            return b""
        match event:
            case form.Begin():
                self._usage = joined(self._usage, event.usage)
                self._begin(event)
            case form.Counted():
                self._usage = joined(self._usage, event.usage)
            case form.Erred():
                return self.fail(event.message, event.kind, event.code)
            case form.Finish():
                self._begin()
                self._finished(event)
            case _ if self._finish is not None:
                pass
            case form.Open():
                self._begin()
                self._opened(event)
            case form.More():
                self._more(event)
            case form.Close():
                self._close(event)
        return self._flush()

    def end(self) -> bytes:
        """The end of a stream; of one that never finished, the word that it failed."""
        if self._ended:
            return b""
        if self._finish is None:
            return self.fail("the upstream's answer broke off", "server_error", "server_error")
        self._ended = True
        response = {**self._shell, **self._ending(self._finish), "usage": write_usage(self._usage)}
        response["output"] = [item.value for item in self._items]
        self._emit(f"response.{response['status']}", response=response)
        return self._flush()

    def fail(self, message: str, kind: str = "", code: str = "") -> bytes:
        """The end of a stream that went wrong. What had begun and not ended is not in the response, and does not end."""
        if self._ended:
            return b""
        self._begin()
        self._ended = True
        whole = [item.value for item in self._items if item.over]
        error = failure(message, kind, code)
        response = {
            **self._shell,
            "status": "failed",
            "error": error,
            "output": whole,
            "usage": write_usage(self._usage),
        }
        self._emit("response.failed", response=response)
        return self._flush()

    def _flush(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _emit(self, name: str, **members: Any) -> None:
        self._out.append(frame({"type": name, "sequence_number": self._sequence, **members}, name))
        self._sequence += 1

    def _begin(self, event: form.Begin | None = None) -> None:
        if self._begun:
            return
        self._begun, told = True, event or form.Begin()
        self._shell["id"] = told.id if told.id and self._maker == NAME else self._shell["id"]
        self._shell["model"] = told.model or self._shell["model"]
        self._shell["created_at"] = self._shell["created_at"] if told.created is None else told.created
        response = {**self._shell, "status": "in_progress", "output": []}
        self._emit("response.created", response=response)
        self._emit("response.in_progress", response=response)

    def _path(self, index: int, part: form.Part) -> Path:
        return Path(part.at or f"content[{index}]", self.losses, own=self._maker == NAME)

    def _opened(self, event: form.Open) -> None:
        if event.index in self._open:
            self._close(form.Close(event.index))
        begun = self._open[event.index] = self._place(event.part, self._path(event.index, event.part))
        item = begun.item
        if item is None:
            return
        item.parts.append(begun)
        if begun.kind in {"text", "refusal", "summary"}:
            self._number(begun)
        words = _words(event.part)
        if words:
            self._say(begun, words)

    def _place(self, part: form.Part, path: Path) -> _Part:
        """Where a part goes: to the last item, to a new one, or nowhere."""
        last = self._items[-1] if self._items and not self._items[-1].left else None
        before = last.parts[-1].growing.whole() if last is not None and last.parts else None
        kept = path.keep(getattr(part, "extra", form.NONE))
        item: _Item | None
        match part:
            case form.Text() | form.Refusal():
                kind = "text" if isinstance(part, form.Text) else "refusal"
                self._refused = self._refused or kind == "refusal"
                joins = isinstance(before, form.Text | form.Refusal) and ITEM not in part.extra
                item = (
                    last if joins else self._item("message", kept.get(ITEM, {}), {"role": "assistant", "content": []})
                )
            case form.Reasoning():
                kind = "summary" if part.summary else "thought"
                joins = isinstance(before, form.Reasoning) and continues(part, before, own=False)
                item = last if joins else self._item("reasoning", {"id": part.id, **kept}, {"summary": []})
            case form.ToolCall():
                kind, called = "call", {"call_id": part.id, "name": part.name, "arguments": ""}
                item = self._item("function_call", kept, called)
            case form.Opaque(dialect=dialect, value=value) if (
                dialect == NAME and isinstance(value, Mapping) and "type" in value
            ):
                kind, item = "opaque", self._next(dict(value))
            case _:
                path.lose()
                kind, item = "lost", None
        return _Part(Growing(part), kind, item)

    def _item(self, kind: str, members: Mapping[str, Any], value: dict[str, Any]) -> _Item:
        """A new item of our own making: with an id, and going on."""
        name = members.get("id")
        if not name or name in {each.value.get("id") for each in self._items}:
            name = f"{PREFIXES[kind]}_{self._seed}_{len(self._items)}"
        more = {key: each for key, each in members.items() if key not in _FIXED}
        return self._next({"type": kind, "id": name, "status": "in_progress", **more, **value})

    def _next(self, value: dict[str, Any]) -> _Item:
        """A new item begins, and the one before it gets no more parts."""
        if self._items:
            self._leave(self._items[-1], "completed")
        item = _Item(len(self._items), value)
        self._items.append(item)
        self._emit("response.output_item.added", output_index=item.index, item=value)
        return item

    def _number(self, begun: _Part) -> None:
        """A part takes its place in its item."""
        item = begun.item
        if item is None or begun.number >= 0:
            return
        words = _wire(begun, "")
        holder = item.value.setdefault("summary" if begun.kind == "summary" else "content", [])
        begun.number = len(holder)
        holder.append(words)
        name = "reasoning_summary_part" if begun.kind == "summary" else "content_part"
        self._emit(f"response.{name}.added", **self._address(begun), part=words)

    @staticmethod
    def _address(begun: _Part) -> dict[str, Any]:
        item = begun.item
        if item is None:
            return {}
        found: dict[str, Any] = {"item_id": item.value["id"], "output_index": item.index}
        if begun.kind != "call":
            found["summary_index" if begun.kind == "summary" else "content_index"] = begun.number
        return found

    def _say(self, begun: _Part, words: str, likely: Sequence[Any] = ()) -> None:
        if begun.item is None or begun.kind == "opaque":
            return
        if begun.kind != "call":
            self._number(begun)
        begun.words.append(words)
        more: dict[str, Any] = {"logprobs": [*likely]} if begun.kind == "text" else {}
        self._emit(f"response.{_DELTA[begun.kind]}.delta", **self._address(begun), delta=words, **more)

    def _more(self, event: form.More) -> None:
        begun = self._open.get(event.index)
        if begun is None:
            return
        begun.growing.add(event)
        tokens = likely(event) if begun.kind == "text" else ()
        if event.text or tokens:
            self._say(begun, event.text, tokens)

    def _close(self, event: form.Close) -> None:
        """A part is whole; so is its item, if that waits for nothing else."""
        begun = self._open.pop(event.index, None)
        if begun is None:
            return
        begun.over = True
        begun.growing.add(event)
        part, item = begun.growing.whole(), begun.item
        if item is None:
            return
        kept = self._path(event.index, part).keep(getattr(part, "extra", form.NONE))
        said = isinstance(part, form.Text | form.Refusal)
        members = kept.pop(ITEM, {}) if said else kept
        if isinstance(part, form.Text) and part.logprobs:
            kept["logprobs"] = [*part.logprobs]
        item.value |= {name: value for name, value in members.items() if name not in _FIXED}
        if begun.number >= 0:
            self._whole(begun, item, kept if said else {})
        elif begun.kind == "call":
            item.value["arguments"] = "".join(begun.words)
            self._emit(
                "response.function_call_arguments.done", **self._address(begun), arguments=item.value["arguments"]
            )
        if isinstance(part, form.Reasoning):
            sealed = write_reasoning([part], self._maker, Path("", form.Losses(), own=False)).get("encrypted_content")
            item.value |= {"encrypted_content": sealed} if sealed else {}
        if item.left:
            self._leave(item, "completed")

    def _whole(self, begun: _Part, item: _Item, kept: Mapping[str, Any]) -> None:
        """The last words of a part that stands in a list of its item."""
        said = "".join(begun.words)
        holder = item.value["summary" if begun.kind == "summary" else "content"]
        part = holder[begun.number] = {**_wire(begun, said), **kept}
        more = {"logprobs": part.get("logprobs", [])} if begun.kind == "text" else {}
        name = "reasoning_summary_part" if begun.kind == "summary" else "content_part"
        words = {_MEMBER[begun.kind]: said}
        self._emit(f"response.{_DELTA[begun.kind]}.done", **self._address(begun), **words, **more)
        self._emit(f"response.{name}.done", **self._address(begun), part=part)

    def _leave(self, item: _Item, status: str) -> None:
        """Nothing joins an item any more; it is over when none of its parts is open."""
        item.left = True
        if item.over or not all(part.over for part in item.parts):
            return
        item.over = True
        if item.value.get("status") == "in_progress":
            item.value["status"] = status
        self._emit("response.output_item.done", output_index=item.index, item=item.value)

    def _finished(self, event: form.Finish) -> None:
        if self._finish is not None:
            return
        for index in sorted(self._open):
            self._close(form.Close(index))
        self._finish = event
        if self._items:
            self._leave(self._items[-1], item_status(self._ending(event)["status"], last=True))

    def _ending(self, finish: form.Finish) -> dict[str, Any]:
        called = any(item.value["type"] == "function_call" for item in self._items)
        parts: list[form.Part] = [form.Refusal("")] if self._refused else []
        parts += [form.ToolCall("", "", "")] if called else []
        choice = form.Choice(tuple(parts), finish.reason, finish.raw, finish.sequence)
        ending = write_reason(choice, self._maker, Path("", self.losses, own=self._maker == NAME))
        # A stream that finished has ended, whatever else its last word was.
        return (
            ending
            if ending["status"] in {"completed", "incomplete"}
            else {"status": "completed", "incomplete_details": None}
        )


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


def _wire(begun: _Part, said: str) -> dict[str, Any]:
    """A part as it stands in its item."""
    match begun.kind:
        case "text":
            return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}
        case "refusal":
            return {"type": "refusal", "refusal": said}
        case "summary":
            return {"type": "summary_text", "text": said}
        case _:
            return {"type": "reasoning_text", "text": said}
