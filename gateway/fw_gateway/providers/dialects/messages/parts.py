"""Content blocks of Messages, read and written."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fw_gateway.providers.dialects.messages.words import NAME, Writing
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
    ToolResult,
    Unreadable,
)
from fw_gateway.providers.wire import Members, lost_field, object_of, text_of, under

_KINDS = {"image": {"base64", "url", "file"}, "document": {"base64", "text", "url", "file"}}
_DIALECTS = ("openai_chat", "openai_responses")
PDF = "application/pdf"
PLAIN = "text/plain"


def read_content(found: Any, at: str) -> tuple[Part, ...] | str:
    """A `content`: a text, or a list of blocks."""
    if isinstance(found, str):
        return found
    if not isinstance(found, list):
        raise Unreadable(at, "must be a string or a list of blocks")
    return tuple(read_block(block, f"{at}[{index}]") for index, block in enumerate(found))


def read_block(found: Any, at: str) -> Part:
    """One block; of a type that the form has no word for, as it stands."""
    members = Members(found, at)
    kind = members.need("type")
    if kind in _KINDS:
        return _read_media(found, kind, members)
    read = _READ.get(kind)
    return Opaque(NAME, found, at) if read is None else read(members)


def _read_text(members: Members) -> Text:
    return Text(members.need("text"), members.rest(), members.at)


def _read_thinking(members: Members) -> Reasoning:
    text, signature = members.text("thinking"), members.text("signature")
    return Reasoning(text, **unpacked_signature(signature), extra=members.rest(), at=members.at)


def _read_redacted(members: Members) -> Reasoning:
    return Reasoning(sealed=members.need("data"), extra=members.rest(), at=members.at)


def _read_media(found: Any, kind: str, members: Members) -> Image | File | Opaque:
    source = members.inner("source")
    if source is None:
        raise members.refuse("source", "is missing")
    told = source.text("type")  # a text, or it is refused: a list could not even be looked for
    if told not in _KINDS[kind]:
        return Opaque(NAME, found, members.at)
    match told:
        case "base64" | "text":
            said = {"data": source.need("data"), "media": source.need("media_type")}
        case "url":
            said = {"url": source.need("url")}
        case _:
            said = {"file": source.need("file_id")}
    if kind == "document" and (said.get("media") == PLAIN) != (told == "text"):
        return Opaque(NAME, found, members.at)
    members.settle("source", source)
    if kind == "image":
        return Image(**said, extra=members.rest(), at=members.at)
    return File(**said, name=members.text("title"), extra=members.rest(), at=members.at)


def _read_call(members: Members) -> ToolCall:
    id_, name, given = members.need("id"), members.need("name"), members.inner("input")
    if given is None:
        raise members.refuse("input", "is missing")
    return ToolCall(id_, name, text_of(given.rest()), members.rest(), members.at)


def _read_result(members: Members) -> ToolResult:
    call, failed, found = members.need("tool_use_id"), members.flag("is_error"), members.take("content")
    if failed is False:
        members.keep("is_error", Spelt(False))
    parts = read_content(found, under(members.at, "content")) if found is not None else ()
    if found == []:
        members.keep("content", Spelt([]))
    return ToolResult(call, parts, bool(failed), members.rest(), members.at)


_READ: Mapping[str, Callable[[Members], Part]] = {
    "text": _read_text,
    "thinking": _read_thinking,
    "redacted_thinking": _read_redacted,
    "tool_use": _read_call,
    "tool_result": _read_result,
}


def write_content(parts: Iterable[Part], writing: Writing) -> list[dict[str, Any]]:
    """Blocks. Another dialect's empty words are left out: the protocol refuses a block of them."""
    out = []
    for part in parts:
        if isinstance(part, Text) and not part.text and not writing.own:
            writing.rest({}, part.extra, part.at)
            if part.extra.get("cache_control"):
                writing.losses.add(under(part.at, "cache_control"))
            continue
        block = write_block(part, writing)
        if block is not None:
            out.append(block)
    return out


def write_block(part: Part, writing: Writing) -> dict[str, Any] | None:
    """One block; None, and named as lost, when the protocol has nothing for it."""
    out: dict[str, Any] | None
    match part:
        case Text():
            if part.logprobs:
                place = part.at.partition(".message.")[0]  # chat has them beside the message
                writing.losses.add(under(place, "logprobs"))
            out = {"type": "text", "text": part.text}
        case Refusal():
            writing.losses.add(part.at)
            out = {"type": "text", "text": part.text} if part.text else None
        case Image() | File():
            out = _media(part, writing)
        case Reasoning():
            out = _thought(part, writing)
        case ToolCall():
            out = {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part, writing)}
        case ToolResult():
            out = _result(part, writing)
        case Opaque() if part.dialect == NAME:
            return dict(part.value)
        case Audio() | Opaque():
            writing.losses.add(part.at)
            return None
    if out is not None:
        writing.rest(out, part.extra, part.at)
    return out


def _media(part: Image | File, writing: Writing) -> dict[str, Any] | None:
    source: dict[str, Any]
    if part.file:
        source = {"type": "file", "file_id": part.file}
    elif part.url:
        source = {"type": "url", "url": part.url}
    elif isinstance(part, File) and part.media == PLAIN:
        source = {"type": "text", "media_type": PLAIN, "data": part.data}
    elif part.media and (writing.own or isinstance(part, Image) or part.media == PDF):
        source = {"type": "base64", "media_type": part.media, "data": part.data}
    else:
        writing.losses.add(part.at)
        return None
    if isinstance(part, Image):
        if part.detail:
            lost_field(writing.losses, part.at, part.extra, "detail")
        return {"type": "image", "source": source}
    return {"type": "document", "source": source} | ({"title": part.name} if part.name else {})


def _thought(part: Reasoning, writing: Writing) -> dict[str, Any] | None:
    """Thoughts go to the provider that signed them, and to nobody else; an answer shows them to whoever asked."""
    maker = part.maker or writing.dialect
    unsigned = not writing.own and not (part.signature or part.sealed)
    if writing.asking and (maker != NAME or unsigned):
        writing.losses.add(part.at)
        return None
    if part.sealed and not part.text and maker == NAME:
        return {"type": "redacted_thinking", "data": part.sealed}
    if not (writing.own or part.text or part.signature or part.sealed or part.id):
        return None
    return {"type": "thinking", "thinking": part.text, "signature": signature_of(part, maker)}


def signature_of(part: Reasoning, maker: str) -> str:
    """What proves thoughts to their maker; of another maker's, all that it must get back."""
    if maker == NAME or not (part.signature or part.sealed or part.id):
        return part.signature
    told = [maker, part.id, part.signature, part.sealed, "summary" if part.summary else ""]
    return "foreign:" + text_of(told)


def unpacked_signature(found: str) -> dict[str, Any]:
    """What a signature of ours holds, by the fields of thoughts; any other is a signature."""
    if not found.startswith("foreign:"):
        return {"signature": found}
    told = object_of('{"told":' + found.removeprefix("foreign:") + "}")
    values = told.get("told") if told else None
    if not isinstance(values, list) or len(values) != 5 or not all(isinstance(value, str) for value in values):
        return {"signature": found}
    maker, id_, signature, sealed, summary = values
    if maker not in _DIALECTS:
        return {"signature": found}
    return {"maker": maker, "id": id_, "signature": signature, "sealed": sealed, "summary": bool(summary)}


def _input(part: ToolCall, writing: Writing) -> dict[str, Any]:
    """What the model wrote as arguments, which the protocol has as an object; what is none is told as the text it is."""
    found = object_of(part.arguments)
    if found is None:
        lost_field(writing.losses, part.at, part.extra, "arguments")
        return {"arguments": part.arguments}
    return found


def _result(part: ToolResult, writing: Writing) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call}
    if isinstance(part.parts, str):
        out["content"] = part.parts
    elif part.parts:
        out["content"] = write_content(part.parts, writing)
    return out | ({"is_error": True} if part.failed else {})
