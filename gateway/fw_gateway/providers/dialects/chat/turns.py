"""What an assistant says in chat, in a request or in an answer: thoughts, words, a refusal, calls."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fw_gateway.providers.dialects.chat.parts import (
    read_calls,
    read_content,
    read_thoughts,
    write_call,
    write_part,
    write_thought,
)
from fw_gateway.providers.dialects.chat.words import NAME, REASONING_CONTENT, THINKING_BLOCKS, Writing
from fw_gateway.providers.form import Opaque, Part, Reasoning, Refusal, Spelt, Text, ToolCall
from fw_gateway.providers.wire import Members, under


def read_turn(members: Members) -> tuple[Part, ...]:
    """The parts of a message of the assistant, in the order that the protocol gives them."""
    at, parts, found = under(members.at, "content"), read_thoughts(members), members.take("content")
    content = read_content(found, at) if found is not None else ()
    if found in ("", []):
        members.keep("content", Spelt(found))
    elif isinstance(content, str):
        parts.append(Text(content, at=at))
    else:
        parts += content
    refusal = members.text("refusal")
    if refusal:
        parts.append(Refusal(refusal, at=under(members.at, "refusal")))
    return (*parts, *read_calls(members))


def write_turn(parts: Sequence[Part], dialect: str, writing: Writing, *, answer: bool) -> dict[str, Any]:
    """The members of a message of the assistant. `dialect`: whose parts they are; an `answer` has one text as its content.

    Parts of this dialect that know their place go back to it; those of a stream know none.
    """
    writing = replace(writing, placed=writing.own and all(part.at for part in parts))
    out: dict[str, Any] = {"role": "assistant"}
    groups: tuple[list[Part], list[Part], list[Part]] = ([], [], [])
    for part in parts:
        groups[_group(part)].append(part)
    thoughts, words, calls = groups
    _write_thoughts(out, thoughts, dialect, writing)
    _write_words(out, words, writing, answer=answer)
    written = [write_call(part, writing) if isinstance(part, ToolCall) else _opaque(part, writing) for part in calls]
    if any(written):
        out["tool_calls"] = [call for call in written if call is not None]
    return out


def in_order(parts: Sequence[Part]) -> bool:
    """Whether the protocol, which has thoughts before words before a refusal before calls, keeps the order of these."""
    groups = [1.5 if isinstance(part, Refusal) else _group(part) for part in parts]
    return groups == sorted(groups)


def _group(part: Part) -> int:
    if isinstance(part, Opaque):
        member = part.at.rpartition(".")[2]
        return 0 if member.startswith("thinking_blocks[") else 2 if member.startswith("tool_calls[") else 1
    return 0 if isinstance(part, Reasoning) else 2 if isinstance(part, ToolCall) else 1


def _opaque(part: Part, writing: Writing) -> dict[str, Any] | None:
    if isinstance(part, Opaque) and part.dialect == NAME:
        return dict(part.value)
    writing.losses.add(part.at)
    return None


def _write_thoughts(out: dict[str, Any], parts: list[Part], dialect: str, writing: Writing) -> None:
    """Text as `reasoning_content`, and whole blocks when more is to be kept than one text."""
    thoughts = [part for part in parts if isinstance(part, Reasoning)]
    if writing.placed:
        blocks = [part for part in parts if part.at.endswith("]")]
        out |= {part.at.rpartition(".")[2]: part.text for part in thoughts if not part.at.endswith("]")}
    else:
        rich = len(thoughts) > 1 or any(part.signature or part.sealed for part in thoughts)
        blocks = parts if rich and writing.can(THINKING_BLOCKS) else []
        text = "".join(part.text for part in thoughts)
        if text and writing.can(REASONING_CONTENT):
            out["reasoning_content"] = text
    for part in thoughts:
        if not writing.placed and not blocks:
            writing.rest({}, part.extra, part.at)
            if not part.text or REASONING_CONTENT not in writing.beyond:
                writing.losses.add(part.at)
            elif part.signature or part.sealed:
                writing.losses.add(under(part.at, "signature"))
    written = [_write_block(part, dialect, writing) for part in blocks]
    if any(written):
        out["thinking_blocks"] = [block for block in written if block is not None]


def _write_block(part: Part, dialect: str, writing: Writing) -> dict[str, Any] | None:
    if not isinstance(part, Reasoning):
        return _opaque(part, writing)
    out = write_thought(part, part.maker or dialect)
    writing.rest(out, part.extra, part.at)
    return out


def _write_words(out: dict[str, Any], words: list[Part], writing: Writing, *, answer: bool) -> None:
    apart = [p for p in words if isinstance(p, Refusal) and not (writing.placed and p.at.endswith("]"))]
    if apart:
        out["refusal"] = "".join(part.text for part in apart)
        for part in apart:
            writing.rest({}, part.extra, part.at)
    for word in words:
        if not answer and isinstance(word, Text) and word.logprobs:
            writing.losses.add(under(word.at, "logprobs"))
    rest = [part for part in words if isinstance(part, Text) or (writing.own and not any(part is one for one in apart))]
    for strange in words:
        if not writing.own and not isinstance(strange, Text | Refusal):
            writing.losses.add(strange.at)
    listed = writing.placed and any(word.at.endswith("]") for word in rest)
    if answer and not listed:
        for word in rest:
            writing.rest({}, word.extra if isinstance(word, Text) else {}, word.at)
        text = "".join(part.text for part in rest if isinstance(part, Text))
        if text:
            out["content"] = text
    else:
        written = [found for word in rest if (found := write_part(word, writing))]
        if written:
            out["content"] = written if listed or not _bare(written) else written[0]["text"]
    if not writing.placed:
        out.setdefault("content", None)


def _bare(written: list[dict[str, Any]]) -> bool:
    """One text and nothing with it."""
    return len(written) == 1 and written[0].keys() == {"type", "text"} and written[0]["type"] == "text"
