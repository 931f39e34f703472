"""Events written as a stream of chat chunks."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fw_gateway.providers.dialects.chat.answers import finish_of, likelihood, write_usage
from fw_gateway.providers.dialects.chat.parts import write_thought
from fw_gateway.providers.dialects.chat.words import NAME
from fw_gateway.providers.form import (
    Begin,
    Close,
    Counted,
    Erred,
    Event,
    Finish,
    Losses,
    More,
    Open,
    Reasoning,
    Refusal,
    Request,
    Spelt,
    Text,
    ToolCall,
)
from fw_gateway.providers.gather import Growing, joined, likely
from fw_gateway.providers.openai import error_body
from fw_gateway.providers.sse import frame

if TYPE_CHECKING:
    from fw_gateway.values import Usage

DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class _Choice:
    """What one choice has told so far."""

    open: dict[int, Growing] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)
    """Number of each call that is open, by the index of its part."""
    told: int = 0
    """Calls so far."""
    thoughts: int = 0
    """Thoughts so far."""
    plain: dict[str, Any] | None = None
    """Thoughts without a seal that were told as text alone: a block of their own once there are others."""
    finished: bool = False


class Writer:
    """Writes one stream: the role first, deltas, a reason for each choice, usage if it was asked for, `[DONE]`.

    What comes for a part that is not open, or for a choice that has finished, is left out.
    """

    __slots__ = ("_choices", "_created", "_id", "_maker", "_model", "_over", "_usage", "_wants_usage", "losses")

    def __init__(
        self,
        asked: Request | None,
        *,
        seed: str = "",
        created: int = 0,
        source: str = "",
        losses: Losses | None = None,
    ) -> None:
        """`asked`: what is answered; `source`: the dialect that is read from.

        Until the stream says its own, its id is made of `seed`, and it was `created` then (Unix seconds).
        """
        options = asked.extra.get("stream_options") if asked is not None and asked.dialect == NAME else None
        options = options.value if isinstance(options, Spelt) else options
        self._wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._id, self._model, self._created = f"chatcmpl-{seed}", asked.model if asked is not None else "", created
        self._maker, self.losses = source or NAME, losses if losses is not None else Losses()
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._over = False

    def write(self, event: Event) -> bytes:
        """The bytes that tell one event; often none."""
        if self._over:
            return b""
        match event:
            case Begin():
                self._id, self._model = event.id or self._id, event.model or self._model
                self._created = self._created if event.created is None else event.created
                self._usage = joined(self._usage, event.usage)
                return self._choice(0)[1]
            case Counted():
                self._usage = joined(self._usage, event.usage)
                return b""
            case Erred():
                return self.fail(event.message, event.kind, event.code)
            case Open() | More() | Close() | Finish():
                choice, head = self._choice(event.choice)
                return head if choice.finished else head + self._tell(event, choice)

    def end(self) -> bytes:
        """The end of a stream that told all it had."""
        if self._over:
            return b""
        self._over = True
        usage = write_usage(self._usage) if self._wants_usage and self._usage is not None else None
        return DONE if usage is None else frame({**self._head(), "choices": [], "usage": usage}) + DONE

    def fail(self, message: str, kind: str = "", code: str = "") -> bytes:
        """An error in band, after which nothing follows."""
        if self._over:
            return b""
        self._over = True
        return frame(error_body(500, message, kind, code))

    def _choice(self, index: int) -> tuple[_Choice, bytes]:
        """A choice, and the chunk that begins it when it is new."""
        if index in self._choices:
            return self._choices[index], b""
        self._choices[index] = _Choice()
        return self._choices[index], self._chunk(index, {"role": "assistant", "content": ""})

    def _tell(self, event: Open | More | Close | Finish, choice: _Choice) -> bytes:
        match event:
            case Open():
                return self._opened(event, choice)
            case More():
                growing = choice.open.get(event.index)
                return b"" if growing is None else self._more(event, growing, choice)
            case Close():
                growing = choice.open.pop(event.index, None)
                return b"" if growing is None else self._closed(event, growing, choice)
            case Finish():
                ends = b"".join(self._tell(Close(index, event.choice), choice) for index in list(choice.open))
                choice.finished = True
                raw = event.raw if self._maker == NAME and event.raw else ""
                members = {"finish_reason": raw or finish_of(event.reason, f"choices[{event.choice}]", self.losses)}
                members |= {} if event.sequence is None else {"stop_reason": event.sequence}
                return ends + self._chunk(event.choice, {}, **members)

    def _opened(self, event: Open, choice: _Choice) -> bytes:
        """Open a part; what it holds already is told as if it came after."""
        part, out = event.part, b""
        match part:
            case ToolCall():
                choice.calls[event.index], choice.told = choice.told, choice.told + 1
                function = {"name": part.name, "arguments": ""}
                call = {"index": choice.calls[event.index], "id": part.id, "type": "function", "function": function}
                out, words = self._chunk(event.choice, {"tool_calls": [call]}), part.arguments
            case Reasoning():
                out, choice.plain = self._block(choice.plain, event.choice), None
                choice.thoughts += 1
                words, part = part.text, replace(part, text="")
            case Text() | Refusal():
                words = part.text
            case _:
                return b""
        choice.open[event.index] = Growing(part)
        return out + (self._tell(More(event.index, words, choice=event.choice), choice) if words else b"")

    def _more(self, event: More, growing: Growing, choice: _Choice) -> bytes:
        match growing.part:
            case Text() if tokens := likely(event):
                return self._chunk(event.choice, {"content": event.text}, logprobs=likelihood(tokens))
            case Text():
                delta: dict[str, Any] = {"content": event.text}
            case Refusal():
                delta = {"refusal": event.text}
            case ToolCall():
                call = {"index": choice.calls[event.index], "function": {"arguments": event.text}}
                delta = {"tool_calls": [call]}
            case _:
                growing.add(event)
                delta = {"reasoning_content": event.text}
        return self._chunk(event.choice, delta) if event.text else b""

    def _closed(self, event: Close, growing: Growing, choice: _Choice) -> bytes:
        if isinstance(growing.part, Text) and (tokens := likely(event)):
            return self._chunk(event.choice, {}, logprobs=likelihood(tokens))
        if not isinstance(growing.part, Reasoning):
            return b""
        growing.add(event)
        part = growing.thoughts(growing.part)
        block = write_thought(part, part.maker or self._maker)
        if part.signature or part.sealed or choice.thoughts > 1:
            return self._block(block, event.choice)
        choice.plain = block if part.text else None
        return b""

    def _block(self, block: dict[str, Any] | None, index: int) -> bytes:
        return self._chunk(index, {"thinking_blocks": [block]}) if block else b""

    def _head(self) -> dict[str, Any]:
        head = {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._model}
        return {**head, "usage": None} if self._wants_usage else head

    def _chunk(self, index: int, delta: dict[str, Any], **members: Any) -> bytes:
        return frame({**self._head(), "choices": [{"index": index, "delta": delta, "finish_reason": None, **members}]})
