"""Parts of a chat message, read and written."""

from typing import Any

from fw_gateway.providers.dialects.chat.words import NAME, Writing
from fw_gateway.providers.form import (
    Audio,
    File,
    Image,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Spelt,
    Text,
    ToolCall,
    Unreadable,
)
from fw_gateway.providers.wire import Members, data_url, packed, split_data_url, under, unpacked

SIGNED_BY = "anthropic_messages"
"""Whose signatures `thinking_blocks` carry when they do not say."""


def read_content(found: Any, at: str) -> tuple[Part, ...] | str:
    """A `content`: a text, or a list of parts."""
    if isinstance(found, str):
        return found
    if not isinstance(found, list):
        raise Unreadable(at, "must be a string or a list of parts")
    return tuple(read_part(part, f"{at}[{index}]") for index, part in enumerate(found))


def read_part(found: Any, at: str) -> Part:
    """One part; of a type that we do not know, as it stands."""
    members = Members(found, at)
    kind = members.need("type")
    match kind:
        case "text":
            return Text(members.need("text"), members.rest(), at)
        case "refusal":
            return Refusal(members.need("refusal"), members.rest(), at)
        case "image_url":
            return _read_image(members)
        case "input_audio":
            inner = _inner(members, "input_audio")
            data, form = inner.need("data"), inner.text("format")
            members.settle("input_audio", inner)
            return Audio(data, form, members.rest(), at)
        case "file":
            return _read_file(members)
        case _:
            return Opaque(NAME, found, at)


def _inner(members: Members, name: str) -> Members:
    inner = members.inner(name)
    if inner is None:
        raise members.refuse(name, "is missing")
    return inner


def _read_image(members: Members) -> Image:
    inner = _inner(members, "image_url")
    url, detail = inner.need("url"), inner.text("detail")
    members.settle("image_url", inner)
    media, data = split_data_url(url) or ("", "")
    return Image("" if media else url, data, media, detail=detail, extra=members.rest(), at=members.at)


def _read_file(members: Members) -> File:
    inner = _inner(members, "file")
    data, file, name = inner.text("file_data"), inner.text("file_id"), inner.text("filename")
    members.settle("file", inner)
    media, encoded = split_data_url(data) or ("", data)
    if media == "text/plain":
        text = unpacked(encoded)
        media, encoded = ("", data) if text is None else (media, text)
    return File("", encoded, media, file, name, members.rest(), members.at)


def write_part(part: Part, writing: Writing) -> dict[str, Any] | None:
    """One part of a `content`; None, and named as lost, when the protocol has nothing for it."""
    out: dict[str, Any]
    match part:
        case Text():
            out = {"type": "text", "text": part.text}
        case Refusal():
            out = {"type": "refusal", "refusal": part.text}
        case Image() if not part.file:
            inner = {"url": data_url(part.media, part.data) if part.media else part.url}
            out = {"type": "image_url", "image_url": inner | ({"detail": part.detail} if part.detail else {})}
        case Audio():
            out = {"type": "input_audio", "input_audio": {"data": part.data}}
            out["input_audio"] |= {"format": part.format} if part.format else {}
        case File() if not part.url and (part.file or part.media or writing.own):
            out = {"type": "file", "file": _file(part)}
        case Opaque() if part.dialect == NAME:
            return dict(part.value)
        case _:
            writing.losses.add(part.at)
            return None
    writing.rest(out, part.extra, part.at)
    return out


def _file(part: File) -> dict[str, Any]:
    data = packed(part.data) if part.media == "text/plain" else part.data
    said = {
        "file_data": data_url(part.media, data) if part.media else data,
        "file_id": part.file,
        "filename": part.name,
    }
    return {name: value for name, value in said.items() if value}


def read_thoughts(members: Members) -> list[Part]:
    """Thoughts of an assistant: `thinking_blocks`, which carry signatures, else the text of `reasoning_content` or `reasoning`."""
    blocks = members.take("thinking_blocks") if isinstance(members.look("thinking_blocks"), list) else None
    at = under(members.at, "thinking_blocks")
    thoughts = [_read_thought(block, f"{at}[{index}]") for index, block in enumerate(blocks or ())]
    if blocks == []:
        members.keep("thinking_blocks", Spelt([]))
    text = "".join(part.text for part in thoughts if isinstance(part, Reasoning)) if thoughts else None
    found: list[Part] = list(thoughts)
    for name in ("reasoning_content", "reasoning"):
        value = members.look(name)
        if not isinstance(value, str):
            continue
        if text is None and value:
            text = value
            found.append(Reasoning(value, at=under(members.at, name)))
        if value == (text or ""):
            members.keep(name, Spelt(value))
    return found


def _read_thought(found: Any, at: str) -> Part:
    members = Members(found, at)
    kind = members.need("type")
    if kind == "thinking":
        text, signature, sealed = members.text("thinking"), members.text("signature"), members.text("data")
        return Reasoning(text, signature, sealed, **_made(members), at=at)
    if kind == "redacted_thinking":
        sealed = members.need("data")
        return Reasoning(sealed=sealed, **_made(members), at=at)
    return Opaque(NAME, found, at)


def _made(members: Members) -> dict[str, Any]:
    """What blocks of other makers say of themselves: these words are ours."""
    maker, id_, summary = members.text("maker"), members.text("id"), members.flag("summary")
    if summary is False:
        members.keep("summary", Spelt(False))
    if maker == SIGNED_BY:
        members.keep("maker", Spelt(maker))
    return {"maker": maker or SIGNED_BY, "id": id_, "summary": bool(summary), "extra": members.rest()}


def write_thought(part: Reasoning, maker: str) -> dict[str, Any]:
    """One of `thinking_blocks`. `maker`: whose signature it is."""
    if part.sealed and not part.text:
        out: dict[str, Any] = {"type": "redacted_thinking", "data": part.sealed}
    else:
        out = {"type": "thinking", "thinking": part.text}
        out |= {"signature": part.signature} if part.signature else {}
        out |= {"data": part.sealed} if part.sealed else {}
    out |= {"maker": maker} if maker != SIGNED_BY else {}
    out |= {"id": part.id} if part.id else {}
    return out | ({"summary": True} if part.summary else {})


def read_calls(members: Members) -> list[Part]:
    """`tool_calls`."""
    at = under(members.at, "tool_calls")
    calls = members.items("tool_calls")
    if calls == []:
        members.keep("tool_calls", Spelt([]))
    return [_read_call(call, f"{at}[{index}]") for index, call in enumerate(calls or ())]


def _read_call(found: Any, at: str) -> Part:
    members = Members(found, at)
    if (members.said("type") or "function") != "function":
        return Opaque(NAME, found, at)
    id_, inner = members.need("id"), _inner(members, "function")
    name, arguments = inner.need("name"), inner.need("arguments")
    members.settle("function", inner)
    return ToolCall(id_, name, arguments, members.rest(), at)


def write_call(part: ToolCall, writing: Writing) -> dict[str, Any]:
    """One of `tool_calls`."""
    function = {"name": part.name, "arguments": part.arguments}
    out = {"id": part.id, "type": "function", "function": function}
    writing.rest(out, part.extra, part.at)
    return out
