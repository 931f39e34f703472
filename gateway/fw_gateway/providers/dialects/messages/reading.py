"""A request of Messages read into the form."""

from collections.abc import Mapping
from typing import Any, Literal, cast

from fw_gateway.providers.dialects.messages.parts import read_content
from fw_gateway.providers.dialects.messages.words import LEAST_BUDGET, NAME
from fw_gateway.providers.form import Choose, Format, Message, Opaque, Request, Role, Spelt, Tool, Unreadable
from fw_gateway.providers.wire import Members, under

_MODES: Mapping[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "any": "required"}
_TIERS: Mapping[str, Literal["auto", "standard"]] = {"auto": "auto", "standard_only": "standard"}
NAMES = {
    "choose": "tool_choice",
    "parallel": "tool_choice.disable_parallel_tool_use",
    "max_output": "max_tokens",
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "format": "output_config.format",
    "effort": "output_config.effort",
    "adaptive": "thinking",
    "tier": "service_tier",
}


def read_request(fields: Mapping[str, Any]) -> Request:
    """A parsed body as the form. Raises Unreadable on what the protocol itself forbids."""
    body = Members(fields)
    limit = body.whole("max_tokens", 0)
    if limit is None:
        raise body.refuse("max_tokens", "is missing")
    stream = body.flag("stream")
    if stream is False:
        body.keep("stream", Spelt(False))
    choose, parallel = _choose(body)
    format_, effort = _output(body)
    thinking, adaptive = _thinking(body)
    return Request(
        dialect=NAME,
        model=body.need("model"),
        messages=(*_system(body), *_messages(body)),
        tools=_tools(body),
        choose=choose,
        parallel=parallel,
        format=format_,
        max_output=limit,
        temperature=body.number("temperature", 0, 1),
        top_p=body.number("top_p", 0, 1),
        top_k=body.whole("top_k", 0),
        stop=_stop(body),
        stream=bool(stream),
        effort=effort,
        thinking=thinking,
        adaptive=adaptive,
        user=_user(body),
        tier=_tier(body),
        extra=body.rest(),
        names=NAMES,
    )


def _system(body: Members) -> list[Message]:
    found = body.take("system")
    if found is None:
        return []
    parts = read_content(found, "system")
    return [Message("system", parts, at="system")]


def _messages(body: Members) -> list[Message]:
    found = body.items("messages")
    if not found:
        raise body.refuse("messages", "must be a list of at least one message")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(found)]


def _message(found: Any, at: str) -> Message:
    members = Members(found, at)
    role = members.need("role")
    if role not in {"user", "assistant", "system"}:
        raise members.refuse("role", "must be user, assistant or system")
    content = members.take("content")
    if content is None:
        raise members.refuse("content", "is missing")
    return Message(cast("Role", role), read_content(content, under(at, "content")), extra=members.rest(), at=at)


def _tools(body: Members) -> tuple[Tool | Opaque, ...]:
    found = body.items("tools")
    if found == []:
        body.keep("tools", Spelt([]))
    return tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(found or ()))


def _tool(found: Any, at: str) -> Tool | Opaque:
    members = Members(found, at)
    kind = members.said("type")
    if kind not in {None, "custom"}:
        return Opaque(NAME, found, at)
    if kind:
        members.keep("type", Spelt(kind))
    name, description, strict = members.need("name"), members.said("description"), members.flag("strict")
    schema = members.take("input_schema")
    if not isinstance(schema, dict):
        raise members.refuse("input_schema", "must be an object")
    return Tool(name, description, schema, strict, members.rest(), at)


def _choose(body: Members) -> tuple[Choose | None, bool | None]:
    """Which tools may be called, and whether several at once."""
    members = body.inner("tool_choice")
    if members is None:
        return None, None
    mode = members.need("type")
    if mode != "tool" and mode not in _MODES:
        raise members.refuse("type", "must be auto, any, tool or none")
    choose = Choose("tool", members.need("name")) if mode == "tool" else Choose(_MODES[mode])
    alone = members.flag("disable_parallel_tool_use")
    body.settle("tool_choice", members)
    return choose, None if alone is None else not alone


def _output(body: Members) -> tuple[Format | None, str | None]:
    """`output_config`: how the answer is to look, and how hard to try."""
    members = body.inner("output_config")
    if members is None:
        return None, None
    effort, found, format_ = members.said("effort"), members.look("format"), None
    inner = members.inner("format")
    if inner is not None and inner.need("type") != "json_schema":
        raise inner.refuse("type", "must be json_schema")
    if inner is not None:
        schema = inner.take("schema")
        if not isinstance(schema, dict):
            raise inner.refuse("schema", "must be an object")
        format_ = Format("json_schema", schema=schema, strict=True)
        members.settle("format", inner)
    elif found is not None:
        members.keep("format", found)
    body.settle("output_config", members)
    return format_, effort


def _thinking(body: Members) -> tuple[int | None, bool]:
    """Tokens to think with, and whether the model decides itself."""
    found = body.look("thinking")
    members = body.inner("thinking")
    if members is None:
        return None, False
    kind, tokens = members.need("type"), None
    if kind == "enabled":
        tokens = members.whole("budget_tokens", LEAST_BUDGET)
        if tokens is None:
            raise members.refuse("budget_tokens", "is missing")
    elif kind == "disabled":
        tokens = 0
    elif kind != "adaptive":
        body.keep("thinking", found)
        return None, False
    body.settle("thinking", members)
    return tokens, kind == "adaptive"


def _stop(body: Members) -> tuple[str, ...] | None:
    found = body.items("stop_sequences")
    if found is None:
        return None
    for index, item in enumerate(found):
        if not isinstance(item, str):
            raise Unreadable(f"stop_sequences[{index}]", "must be a string")
    return tuple(found)


def _user(body: Members) -> str | None:
    members = body.inner("metadata")
    user = members.said("user_id") if members else None
    body.settle("metadata", members)
    return user


def _tier(body: Members) -> Literal["auto", "standard"] | None:
    found = body.look("service_tier")
    if not isinstance(found, str) or found not in _TIERS:
        return None
    body.take("service_tier")
    return _TIERS[found]
