"""The form written as a chat request."""

from collections.abc import Iterable
from typing import Any

from fw_gateway.providers.dialects.chat.parts import write_part
from fw_gateway.providers.dialects.chat.turns import in_order, write_turn
from fw_gateway.providers.dialects.chat.words import (
    NAME,
    TOOL_MEDIA,
    TOP_K,
    Writing,
)
from fw_gateway.providers.form import (
    Choose,
    Extra,
    Format,
    Losses,
    Message,
    Opaque,
    Request,
    Rest,
    Text,
    Tool,
    ToolResult,
)
from fw_gateway.providers.openai import BOTH, BREAKPOINT, budget_effort, sisters
from fw_gateway.providers.wire import under

_TIERS = {"auto": "auto", "standard": "default"}
_FORMAT_NAME = "answer"
"""What a format is called whose own protocol gave it no name."""


def write_request(asked: Request, losses: Losses, *, beyond: Iterable[str] = ()) -> dict[str, Any]:
    """The form as a body. What the protocol cannot say is named in `losses`.

    `beyond`: what the server understands beyond the protocol (`BEYOND` has the names); OpenAI's own refuses it. What a client of
    this same dialect said goes out as it stood.
    """
    own = asked.dialect == NAME
    shared = BOTH | {BREAKPOINT} if sisters(asked.dialect, NAME) else frozenset[str]()
    writing = Writing(own, frozenset(beyond), losses, shared=shared)
    out: dict[str, Any] = {"model": asked.model, "messages": _messages(asked, writing)}
    tools = [_tool(tool, writing) for tool in asked.tools]
    if any(tools):
        out["tools"] = [tool for tool in tools if tool is not None]
    said: dict[str, Any] = {
        "tool_choice": _choice(asked.choose),
        "parallel_tool_calls": asked.parallel,
        "response_format": _format(asked.format),
        asked.where("max_output") if own and "max_output" in asked.names else "max_completion_tokens": asked.max_output,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": _top_k(asked, writing),
        "stop": list(asked.stop) if isinstance(asked.stop, tuple) else asked.stop,
        "n": asked.n,
        "logprobs": None if asked.logprobs is None else True,
        "top_logprobs": asked.logprobs or None,
        "seed": asked.seed,
        "stream": asked.stream or None,
        "stream_options": {"include_usage": True} if asked.stream and not own else None,
        "reasoning_effort": _effort(asked, writing),
        asked.where("user") if own else "user": asked.user,
        "service_tier": _TIERS[asked.tier] if asked.tier else None,
    }
    if not own and "tools" not in out:
        for field, name in (("choose", "tool_choice"), ("parallel", "parallel_tool_calls")):
            if said.pop(name) is not None:
                losses.add(asked.where(field))
    out |= {name: value for name, value in said.items() if value is not None}
    writing.rest(out, asked.extra if own or not shared else _verbosity(out, asked.extra), "")
    return out


def _verbosity(out: dict[str, Any], extra: Extra) -> Extra:
    """How much to say, which Responses has among what it says of the text; what else there is."""
    words = extra.get("text")
    if not isinstance(words, Rest) or words.members.get("verbosity") is None:
        return extra
    out["verbosity"] = words.members["verbosity"]
    return {**extra, "text": Rest({name: value for name, value in words.members.items() if name != "verbosity"})}


def _messages(asked: Request, writing: Writing) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    """Pictures and files of results: a user tells them behind the run of results."""
    for message in asked.messages:
        results = not isinstance(message.parts, str) and any(isinstance(part, ToolResult) for part in message.parts)
        if results or message.role == "tool":
            _results(message, out, shown, writing)
        if message.role == "tool":
            continue
        if not results and shown:
            out.append({"role": "user", "content": shown})
            shown = []
        if message.role == "assistant":
            found: dict[str, Any] | None = _assistant(message, asked.dialect, writing)
        else:
            found = _spoken(message, shown, writing, behind=results)
            shown = []
        out += [found] if found else []
    return [*out, {"role": "user", "content": shown}] if shown else out


def _assistant(message: Message, dialect: str, writing: Writing) -> dict[str, Any]:
    parts = (Text(message.parts),) if isinstance(message.parts, str) else message.parts
    out = write_turn(parts, dialect, writing, answer=False)
    if not writing.own and not in_order(parts):
        writing.losses.add(under(message.at, "content"))
    if isinstance(message.parts, str):
        out["content"] = message.parts
    out |= {"name": message.name} if message.name else {}
    writing.rest(out, message.extra, message.at)
    return out


def _spoken(message: Message, shown: list[dict[str, Any]], writing: Writing, *, behind: bool) -> dict[str, Any] | None:
    """What a user or the system says, `shown` first; `behind` results in the same message; None when it is nothing then."""
    out: dict[str, Any] = {"role": message.role, "content": message.parts}
    if not isinstance(message.parts, str):
        parts = [part for part in message.parts if not isinstance(part, ToolResult)]
        content = shown + [found for part in parts if (found := write_part(part, writing)) is not None]
        if not content and behind:
            return None
        alone = behind and len(content) == 1 and content[0].keys() == {"type", "text"}
        out["content"] = content[0]["text"] if alone else content or ([] if writing.own else "")
    out |= {"name": message.name} if message.name else {}
    writing.rest(out, message.extra, message.at)
    return out


def _results(message: Message, out: list[dict[str, Any]], shown: list[dict[str, Any]], writing: Writing) -> None:
    """A message of the tool for each result; the pictures and files that it may not hold are added to `shown`."""
    others = False
    for part in message.parts:
        if isinstance(part, ToolResult):
            out.append(_result(part, shown, writing))
            if others and not writing.own:
                writing.losses.add(under(message.at, "content"))  # results come first here
        elif message.role == "tool" and isinstance(part, Opaque) and part.dialect == NAME:
            out.append(dict(part.value))
        elif message.role == "tool":
            writing.losses.add(message.at if isinstance(part, str) else part.at)
        else:
            others = True


def _result(result: ToolResult, shown: list[dict[str, Any]], writing: Writing) -> dict[str, Any]:
    content: Any = result.parts
    if not isinstance(content, str):
        content = []
        for part in result.parts:
            found = write_part(part, writing) if not isinstance(part, str) else None
            if found is None:
                continue
            if found["type"] == "text" or writing.can(TOOL_MEDIA):
                content.append(found)
            else:
                writing.losses.add(getattr(part, "at", ""))
                shown.append(found)
        content = content if content or writing.own else ""
    if result.failed:
        writing.losses.add(under(result.at, "is_error"))
    out = {"role": "tool", "tool_call_id": result.call, "content": content}
    writing.rest(out, result.extra, result.at)
    return out


def _tool(tool: Tool | Opaque, writing: Writing) -> dict[str, Any] | None:
    if isinstance(tool, Opaque):
        if tool.dialect == NAME:
            return dict(tool.value)
        writing.losses.add(tool.at)
        return None
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema, "strict": tool.strict}
    out: dict[str, Any] = {"type": "function", "function": {n: v for n, v in function.items() if v is not None}}
    writing.rest(out, tool.extra, tool.at)
    return out


def _choice(choose: Choose | None) -> Any:
    if choose is None or choose.mode != "tool":
        return choose.mode if choose else None
    return {"type": "function", "function": {"name": choose.name}}


def _format(form: Format | None) -> dict[str, Any] | None:
    if form is None:
        return None
    if form.kind != "json_schema":
        return {"type": form.kind}
    said = {"schema": form.schema, "strict": form.strict, "description": form.description}
    inner = {"name": form.name or _FORMAT_NAME, **{name: value for name, value in said.items() if value is not None}}
    return {"type": "json_schema", "json_schema": inner}


def _top_k(asked: Request, writing: Writing) -> int | None:
    if asked.top_k is None or writing.can(TOP_K):
        return asked.top_k
    writing.losses.add(asked.where("top_k"))
    return None


def _effort(asked: Request, writing: Writing) -> str | None:
    """How hard to think. A number of tokens becomes the effort that comes near it, and is named."""
    if asked.thinking == 0:
        if asked.effort:
            writing.losses.add(asked.where("effort"))
        return "none"
    if asked.thinking or (asked.adaptive and not asked.effort):
        writing.losses.add(asked.where("thinking"))
    return asked.effort or (budget_effort(asked.thinking) if asked.thinking else None)
