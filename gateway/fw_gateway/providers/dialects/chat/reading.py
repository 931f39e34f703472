"""A chat request read into the form."""

from collections.abc import Mapping
from typing import Any, Literal

from fw_gateway.providers.dialects.chat.parts import read_content
from fw_gateway.providers.dialects.chat.turns import read_turn
from fw_gateway.providers.dialects.chat.words import NAME
from fw_gateway.providers.form import (
    Choose,
    Format,
    Message,
    Opaque,
    Request,
    Spelt,
    Text,
    Tool,
    ToolResult,
)
from fw_gateway.providers.wire import Members, under

_MODES: Mapping[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "required": "required"}
_TIERS: Mapping[str, Literal["auto", "standard"]] = {"auto": "auto", "default": "standard"}


def read_request(fields: Mapping[str, Any]) -> Request:
    """A parsed body as the form. Raises Unreadable on what the protocol itself forbids."""
    body, names = Members(fields), dict[str, str]()
    stream = body.flag("stream")
    if stream is False:
        body.keep("stream", Spelt(False))
    if body.look("stream_options") is not None:
        body.keep("stream_options", Spelt(body.take("stream_options")))  # how our own answer comes
    effort = body.said("reasoning_effort")
    likeliest = _likeliest(body)
    names["thinking" if effort == "none" else "effort"] = "reasoning_effort"
    return Request(
        dialect=NAME,
        model=body.need("model"),
        messages=_messages(body),
        tools=_tools(body),
        choose=_choose(body, names),
        parallel=body.flag("parallel_tool_calls"),
        format=_format(body, names),
        max_output=_limit(body, names),
        temperature=body.number("temperature", 0, 2),
        top_p=body.number("top_p", 0, 1),
        top_k=_top_k(body),
        stop=_stop(body),
        n=body.whole("n", 1),
        logprobs=likeliest,
        seed=body.whole("seed"),
        stream=bool(stream),
        effort=None if effort == "none" else effort,
        thinking=0 if effort == "none" else None,
        user=_user(body, names),
        tier=_tier(body, names),
        extra=body.rest(),
        names={**names, "parallel": "parallel_tool_calls"},
    )


def _messages(body: Members) -> tuple[Message, ...]:
    found = body.items("messages")
    if not found:
        raise body.refuse("messages", "must be a list of at least one message")
    return tuple(_message(message, f"messages[{index}]") for index, message in enumerate(found))


def _message(found: Any, at: str) -> Message:
    members = Members(found, at)
    role = members.need("role")
    match role:
        case "system" | "developer" | "user":
            content = members.take("content")
            if content is None:
                raise members.refuse("content", "is missing")
            parts = read_content(content, under(at, "content"))
            return Message(role, parts, members.text("name"), members.rest(), at)
        case "assistant":
            return _assistant(members)
        case "tool":
            return Message("tool", (_result(members),), at=at)
        case "function":
            return Message("tool", (Opaque(NAME, found, at),), at=at)
        case _:
            raise members.refuse("role", "must be system, developer, user, assistant or tool")


def _assistant(members: Members) -> Message:
    parts, name = read_turn(members), members.text("name")
    if len(parts) == 1 and isinstance(parts[0], Text) and not parts[0].at.endswith("]"):
        return Message("assistant", parts[0].text, name, members.rest(), members.at)
    return Message("assistant", parts, name, members.rest(), members.at)


def _result(members: Members) -> ToolResult:
    call, content = members.need("tool_call_id"), members.take("content")
    if content is None:
        raise members.refuse("content", "is missing")
    parts = read_content(content, under(members.at, "content"))
    return ToolResult(call, parts, extra=members.rest(), at=members.at)


def _tools(body: Members) -> tuple[Tool | Opaque, ...]:
    found = body.items("tools")
    if found == []:
        body.keep("tools", Spelt([]))
    return tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(found or ()))


def _tool(found: Any, at: str) -> Tool | Opaque:
    members = Members(found, at)
    if members.need("type") != "function":
        return Opaque(NAME, found, at)
    inner = members.inner("function")
    if inner is None:
        raise members.refuse("function", "is missing")
    name, description, strict = inner.need("name"), inner.said("description"), inner.flag("strict")
    schema = inner.take("parameters")
    if schema is not None and not isinstance(schema, dict):
        raise inner.refuse("parameters", "must be an object")
    members.settle("function", inner)
    return Tool(name, description, schema, strict, members.rest(), at)


def _choose(body: Members, names: dict[str, str]) -> Choose | None:
    found = body.look("tool_choice")
    names["choose"] = "tool_choice"
    if isinstance(found, str):
        if found not in _MODES:
            raise body.refuse("tool_choice", "must be auto, none, required or a tool")
        body.take("tool_choice")
        return Choose(_MODES[found])
    members = body.inner("tool_choice")
    if members is None:
        return None
    if members.need("type") != "function":
        body.keep("tool_choice", found)  # some of the tools, or one that takes any text
        return None
    inner = members.inner("function")
    if inner is None:
        raise members.refuse("function", "is missing")
    choose = Choose("tool", inner.need("name"))
    members.settle("function", inner)
    body.settle("tool_choice", members)
    return choose


def _format(body: Members, names: dict[str, str]) -> Format | None:
    names["format"] = "response_format"
    found = body.look("response_format")
    members = body.inner("response_format")
    if members is None:
        return None
    kind = members.need("type")
    if kind == "json_schema":
        inner = members.inner("json_schema")
        if inner is None:
            raise members.refuse("json_schema", "is missing")
        names["format"] = inner.at
        asked = Format(
            "json_schema", inner.need("name"), inner.take("schema"), inner.flag("strict"), inner.said("description")
        )
        members.settle("json_schema", inner)
    elif kind in {"text", "json_object"}:
        asked = Format("text" if kind == "text" else "json_object")
    else:
        body.keep("response_format", found)  # a grammar, or another word of one server
        return None
    body.settle("response_format", members)
    return asked


def _limit(body: Members, names: dict[str, str]) -> int | None:
    """The later name counts when both are said."""
    found = {
        name: body.whole(name, 1) for name in ("max_completion_tokens", "max_tokens") if body.look(name) is not None
    }
    for name, value in list(found.items())[:1]:
        names["max_output"] = name
        for other in list(found)[1:]:
            body.keep(other, Spelt(found[other]) if found[other] == value else found[other])
        return value
    return None


def _likeliest(body: Members) -> int | None:
    """How many tokens are to be told at each place; without `logprobs`, `top_logprobs` means nothing."""
    top = body.look("top_logprobs")
    if body.look("logprobs") is not True or isinstance(top, bool) or not isinstance(top, int | None):
        return None
    body.take("logprobs")
    if top == 0:
        body.keep("top_logprobs", Spelt(0))
        return 0
    return body.whole("top_logprobs", 0) or 0


def _top_k(body: Members) -> int | None:
    """Not of the protocol, but many servers know it; less than 0 means none."""
    found = body.look("top_k")
    return body.whole("top_k") if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _stop(body: Members) -> tuple[str, ...] | str | None:
    found = body.take("stop")
    if found is None or isinstance(found, str):
        return found
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise body.refuse("stop", "must be a string or a list of strings")
    return tuple(found)


def _user(body: Members, names: dict[str, str]) -> str | None:
    """`safety_identifier` is the later name of the two."""
    for name in ("user", "safety_identifier"):
        found = body.said(name)
        if found is not None:
            names["user"] = name
            if body.look("safety_identifier") == found:
                body.keep("safety_identifier", Spelt(found))
            return found
    return None


def _tier(body: Members, names: dict[str, str]) -> Literal["auto", "standard"] | None:
    names["tier"] = "service_tier"
    found = body.look("service_tier")
    if not isinstance(found, str) or found not in _TIERS:
        return None
    body.take("service_tier")
    return _TIERS[found]
