"""The turns of a conversation as messages of a user and an assistant, and what the system says before them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from fw_gateway.providers.dialects.messages.parts import write_content
from fw_gateway.providers.dialects.messages.words import CARRIED, Writing
from fw_gateway.providers.form import Message, Opaque, Part, Text
from fw_gateway.providers.wire import lose, under


def write_conversation(messages: Sequence[Message], writing: Writing, *, anywhere: bool) -> dict[str, Any]:
    """`system` and `messages`. There must be a turn: a system that nobody answers says its last words in one.

    `anywhere`: the system may speak behind a user, where the protocol lets it.
    """
    if writing.own:
        count = 1 if messages and messages[0].at == "system" else 0
    else:
        count = sum(1 for _ in takewhile(lambda message: message.role in {"system", "developer"}, messages))
    turns = _write_turns(messages[count:], writing, anywhere=anywhere)
    if not turns and count and not writing.own:
        count -= 1
        turns = _write_turns(messages[count : count + 1], writing, anywhere=False)
    system = _write_system(messages[:count], writing)
    return {"messages": turns} if system is None else {"system": system, "messages": turns}


def _write_system(messages: Sequence[Message], writing: Writing) -> str | list[dict[str, Any]] | None:
    """`system`: a text that stands alone, or blocks of text."""
    if not messages:
        return None
    for message in messages:
        _lose_rest(message, writing)
    first = messages[0]
    if len(messages) == 1 and isinstance(first.parts, str) and "cache_control" not in first.extra:
        return first.parts
    blocks: list[dict[str, Any]] = []
    for message in messages:
        blocks += write_content(_words(message, writing), writing)
    return blocks if blocks or writing.own else None


def _write_turns(messages: Sequence[Message], writing: Writing, *, anywhere: bool) -> list[dict[str, Any]]:
    if writing.own:
        return [_own(message, writing) for message in messages]
    out: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    """The blocks of a user that tells results of tools, while they may be gone on with."""
    for index, message in enumerate(messages):
        _lose_rest(message, writing)
        if message.role == "tool":
            blocks = write_content(_parts(message), writing)
            if results is None and blocks:
                out.append({"role": "user", "content": (results := [])})
            if results is not None:
                results += blocks
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if message.role in {"system", "developer"}:
            if anywhere and out and out[-1]["role"] == "user" and _answered(messages, index):
                role = "system"
            else:
                writing.losses.add(under(message.at, "role"))
        content = _content(message, writing, words=role == "system")
        if not content and role == "assistant" and index + 1 < len(messages):
            if message.parts:
                writing.losses.add(message.at)  # a turn in which nothing is said is refused, unless it is the last
            continue
        if results is not None and role == "user" and _joins(message):
            results += [{"type": "text", "text": content}] if isinstance(content, str) else content
        else:
            out.append({"role": role, "content": content})
        results = None
    return out


def _own(message: Message, writing: Writing) -> dict[str, Any]:
    content = message.parts if isinstance(message.parts, str) else write_content(message.parts, writing)
    out = {"role": message.role, "content": content}
    writing.rest(out, message.extra, message.at)
    return out


def _answered(messages: Sequence[Message], index: int) -> bool:
    """Whether a message is the last, or an assistant's comes next: where the protocol lets a system speak."""
    return index + 1 == len(messages) or messages[index + 1].role == "assistant"


def _joins(message: Message) -> bool:
    """Whether a user's message becomes one with the results before it. A list of one text stays apart, so that it comes back as it was."""
    if isinstance(message.parts, str):
        return bool(message.parts)
    first = message.parts[0] if len(message.parts) == 1 else None
    return not (isinstance(first, Text) and not first.extra)


def _content(message: Message, writing: Writing, *, words: bool = False) -> str | list[dict[str, Any]]:
    """`content`; of `words` alone where nothing else may be said."""
    if isinstance(message.parts, str) and "cache_control" not in message.extra:
        return message.parts
    return write_content(_words(message, writing) if words else _parts(message), writing) or ""


def _words(message: Message, writing: Writing) -> list[Part]:
    """What a system may say: text."""
    found: list[Part] = []
    for part in _parts(message):
        if isinstance(part, Text | Opaque):
            found.append(part)
        else:
            writing.losses.add(part.at)
    return found


def _parts(message: Message) -> list[Part]:
    """The parts of a message; a mark for the cache on the whole of it is one on the last part that says something."""
    parts: list[Part] = [Text(message.parts, at=message.at)] if isinstance(message.parts, str) else list(message.parts)
    mark = message.extra.get("cache_control")
    says = [index for index, part in enumerate(parts) if not isinstance(part, Text) or part.text]
    place = says[-1] if says else len(parts) - 1
    last = parts[place] if parts else None
    if mark is not None and last is not None and not isinstance(last, Opaque) and "cache_control" not in last.extra:
        parts[place] = replace(last, extra={**last.extra, "cache_control": mark})
    return parts


def _lose_rest(message: Message, writing: Writing) -> None:
    if writing.own:
        return
    if message.name:
        writing.losses.add(under(message.at, "name"))
    lose(writing.losses, message.at, message.extra, CARRIED)
