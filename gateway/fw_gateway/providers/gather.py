"""An answer told as events, and events gathered to the answer they tell. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from fw_gateway.providers.form import (
    NONE,
    Answer,
    Begin,
    Choice,
    Close,
    Counted,
    Erred,
    Event,
    Finish,
    More,
    Open,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from fw_gateway.values import Usage

LATE = ("sealed", "id", "summary", "maker")
"""What may be known of thoughts only after they began: told in `extra`, by the name that the form has for it."""

LOGPROBS = "logprobs"
"""What more of a text says of its tokens, in `extra`."""


def likely(event: More | Close) -> list[Any]:
    """What an event says of how likely the tokens of its text were; empty when it says nothing of it, in whatever way."""
    found = event.extra.get(LOGPROBS)
    return found if isinstance(found, list) else []


@dataclass(slots=True)
class Growing:
    """A part while more of it comes."""

    part: Part
    words: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def add(self, event: More | Close) -> None:
        """Take more. A list goes on where the former one ended; any other member replaces what was there."""
        if isinstance(event, More):
            self.words.append(event.text)
            self.signature.append(event.signature)
        for name, value in event.extra.items():
            before = self.extra.get(name, getattr(self.part, "extra", NONE).get(name))
            self.extra[name] = [*before, *value] if isinstance(before, list) and isinstance(value, list) else value

    def whole(self) -> Part:
        """The part as far as it has come."""
        part, words = self.part, "".join(self.words)
        if isinstance(part, Text):
            extra = {**part.extra, **self.extra}
            likely = [*(part.logprobs or ()), *(extra.pop(LOGPROBS) if isinstance(extra.get(LOGPROBS), list) else ())]
            return replace(part, text=part.text + words, extra=extra, logprobs=likely or None)
        if isinstance(part, Refusal):
            return replace(part, text=part.text + words, extra={**part.extra, **self.extra})
        if isinstance(part, ToolCall):
            return replace(part, arguments=part.arguments + words, extra={**part.extra, **self.extra})
        return self.thoughts(part) if isinstance(part, Reasoning) else part

    def thoughts(self, part: Reasoning) -> Reasoning:
        """`part`, which these are more of."""
        late = {name: self.extra[name] for name in LATE if name in self.extra}
        extra = {**part.extra, **{name: value for name, value in self.extra.items() if name not in late}}
        text, signature = part.text + "".join(self.words), part.signature + "".join(self.signature)
        return replace(part, **{"text": text, "signature": signature, "extra": extra, **late})


@dataclass(slots=True)
class _Gathered:
    parts: list[Growing] = field(default_factory=list)
    open: dict[int, Growing] = field(default_factory=dict)
    finish: Finish | None = None


class Gather:
    """Takes events one by one, in whatever order they come; what belongs to no open part is left out."""

    __slots__ = ("_begin", "_choices", "_usage", "error")

    def __init__(self) -> None:
        self._begin: Begin | None = None
        self._choices: dict[int, _Gathered] = {}
        self._usage: Usage | None = None
        self.error: Erred | None = None
        """The provider's own error, if it sent one."""

    def add(self, event: Event) -> None:
        """Take one."""
        match event:
            case Begin():
                self._begin = self._begin or event
                self._usage = joined(self._usage, event.usage)
            case Counted():
                self._usage = joined(self._usage, event.usage)
            case Erred():
                self.error = self.error or event
            case Finish():
                choice = self._choice(event.choice)
                choice.finish = choice.finish or event
            case Open():
                choice, growing = self._choice(event.choice), Growing(event.part)
                choice.parts.append(growing)
                choice.open[event.index] = growing
            case More() | Close():
                self._part(event)

    def answer(self, dialect: str) -> Answer:
        """What was told so far, in the words of `dialect`. A choice that has not finished has no reason."""
        begin = self._begin or Begin()
        choices = []
        for index in sorted(self._choices):
            choice = self._choices[index]
            finish = choice.finish or Finish("")
            parts = tuple(growing.whole() for growing in choice.parts)
            choices.append(Choice(parts, finish.reason, finish.raw, finish.sequence))
        return Answer(dialect, begin.id, begin.model, tuple(choices), self._usage, begin.created)

    def _choice(self, index: int) -> _Gathered:
        return self._choices.setdefault(index, _Gathered())

    def _part(self, event: More | Close) -> None:
        choice = self._choices.get(event.choice)
        growing = choice.open.get(event.index) if choice else None
        if choice is None or growing is None:
            return
        growing.add(event)
        if isinstance(event, Close):
            del choice.open[event.index]


def joined(before: Usage | None, after: Usage | None) -> Usage | None:
    """Usage with what a later report states in place of what the former did."""
    if before is None or after is None:
        return after or before
    stated = {f.name: value for f in fields(Usage) if (value := getattr(after, f.name)) is not None}
    return replace(before, **stated)


def gathered(events: Iterable[Event], dialect: str) -> Answer:
    """The answer that events tell."""
    gather = Gather()
    for event in events:
        gather.add(event)
    return gather.answer(dialect)


def told(answer: Answer) -> Iterator[Event]:
    """A whole answer as the events of a stream. What only its own protocol has a word for, outside of parts, is not told."""
    yield Begin(answer.id, answer.model, answer.created)
    for number, choice in enumerate(answer.choices):
        for index, part in enumerate(choice.parts):
            yield from _part_told(part, index, number)
        yield Finish(choice.reason, choice.raw, choice.sequence, number)
    if answer.usage is not None:
        yield Counted(answer.usage)


def _part_told(part: Part, index: int, choice: int) -> Iterator[Event]:
    more: list[More] = []
    match part:
        case Text():
            extra = {LOGPROBS: [*part.logprobs]} if part.logprobs else NONE
            more = [More(index, part.text, choice=choice, extra=extra)]
            part = replace(part, text="", logprobs=None)
        case Refusal():
            more = [More(index, part.text, choice=choice)]
            part = replace(part, text="")
        case ToolCall():
            more = [More(index, part.arguments, choice=choice)]
            part = replace(part, arguments="")
        case Reasoning():
            more = [More(index, part.text, choice=choice), More(index, signature=part.signature, choice=choice)]
            part = replace(part, text="", signature="")
        case _:
            pass
    yield Open(index, part, choice)
    yield from (event for event in more if event.text or event.signature or event.extra)
    yield Close(index, choice)
