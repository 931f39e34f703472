"""Requests of the Responses API, to and from the form.

`instructions` are the system's message that comes first, a text as `input` is one user's message; what differs from them by its
spelling alone says so in its `extra`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from fw_gateway.providers import form
from fw_gateway.providers.dialects.responses.items import Turns, write_items
from fw_gateway.providers.dialects.responses.parts import NAME, Path, merged, rest, text
from fw_gateway.providers.openai import BOTH, LOGPROBS, budget_effort, sisters

NAMES: Final = {
    "choose": "tool_choice",
    "parallel": "parallel_tool_calls",
    "format": "text.format",
    "max_output": "max_output_tokens",
    "effort": "reasoning.effort",
    "thinking": "reasoning.effort",
    "tier": "service_tier",
}
"""What the form has another name for."""

TIERS: Final[Mapping[Any, Literal["auto", "standard"]]] = {"auto": "auto", "default": "standard"}

_KNOWN: Final = (
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "max_output_tokens", "temperature",
    "top_p", "stream", "reasoning", "user",
)  # fmt: skip
_KEPT_ELSEWHERE: Final = ("conversation", "previous_response_id", "prompt")
_FORMATS: Final = {
    "text": ("type",),
    "json_object": ("type",),
    "json_schema": ("type", "name", "schema", "strict", "description"),
}
_FOREIGN: Final = ("top_k", "stop", "seed")


def stateful(fields: Mapping[str, Any]) -> str | None:
    """The member that needs an upstream that stores: what it refers to lies there and nowhere else; None: there is none."""
    for name in _KEPT_ELSEWHERE:
        if fields.get(name):
            return name
    if fields.get("background"):
        return "background"
    items = fields.get("input")
    for index, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, Mapping) and item.get("type", "item_reference") == "item_reference" and "role" not in item:
            return f"input[{index}]"
    return None


def read_request(fields: Mapping[str, Any]) -> form.Request:
    """What a body asks.

    Raises:
        Unreadable: it is no request of this dialect.
    """
    extra = rest(fields, *_KNOWN)
    choose, extra_choice = _read_choice(fields.get("tool_choice"))
    look, extra_text = _read_text(fields.get("text"))
    effort, extra_reasoning = _read_effort(fields.get("reasoning"))
    user, names = _read_user(fields, extra)
    likeliest, where = _read_likeliest(fields, extra)
    extra |= extra_choice | extra_text | extra_reasoning
    tier = TIERS.get(fields["service_tier"]) if isinstance(fields.get("service_tier"), str) else None
    if tier is not None:
        del extra["service_tier"]
    stream = _typed(fields, "stream", bool)
    if stream is False:
        extra["stream"] = form.Spelt(stream)
    for name in ("tools", "input"):
        if fields.get(name) == [] or (name == "input" and name not in fields):
            extra[name] = form.Spelt(fields.get(name))
    return form.Request(
        dialect=NAME,
        model=text(fields, "model", ""),
        messages=_read_input(fields),
        tools=tuple(_read_tool(tool, f"tools[{n}]") for n, tool in enumerate(_listed(fields, "tools"))),
        choose=choose,
        parallel=_typed(fields, "parallel_tool_calls", bool),
        format=look,
        max_output=_typed(fields, "max_output_tokens", int),
        temperature=_typed(fields, "temperature", float),
        top_p=_typed(fields, "top_p", float),
        logprobs=likeliest,
        stream=bool(stream),
        effort=None if effort == "none" else effort,
        thinking=0 if effort == "none" else None,
        user=user,
        tier=tier,
        extra=extra,
        names={**NAMES, **names, **where},
    )


def _read_likeliest(fields: Mapping[str, Any], extra: dict[str, Any]) -> tuple[int | None, dict[str, str]]:
    """How many tokens are to be told at each place, and where that is said. `include` has other words too: then it stays, to be named."""
    include, top = fields.get("include"), _typed(fields, "top_logprobs", int)
    if not isinstance(include, list) or LOGPROBS not in include:
        return None, {}
    extra["include"] = form.Spelt(include) if all(each == LOGPROBS for each in include) else include
    if top is not None:
        extra["top_logprobs"] = form.Spelt(top)
    return top or 0, {"logprobs": "include"}


def _typed(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    """A member of this kind; None when it is null or not there."""
    value = fields.get(name)
    if value is None or (type(value) is kind) or (kind is float and type(value) is int):
        return value
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    raise form.Unreadable(name, f"must be {words[kind]}")


def _listed(fields: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = fields.get(name)
    if value is None or isinstance(value, list | tuple):
        return value or ()
    raise form.Unreadable(name, "must be a list")


def _read_user(fields: Mapping[str, Any], extra: dict[str, Any]) -> tuple[str | None, dict[str, str]]:
    """The end user and the name that it was said by: `safety_identifier` is the later one, and stays when both say different things."""
    user, later = _typed(fields, "user", str), _typed(fields, "safety_identifier", str)
    if later is not None and user in {None, later}:
        extra["safety_identifier"] = form.Spelt(later)
    if user is None and later is not None:
        del extra["safety_identifier"]
        return later, {"user": "safety_identifier"}
    return user, {}


def _read_input(fields: Mapping[str, Any]) -> tuple[form.Message, ...]:
    turns = Turns()
    instructions = _typed(fields, "instructions", str)
    if instructions is not None:
        turns.done.append(form.Message("system", instructions, at="instructions"))
    if isinstance(fields.get("input"), str):
        turns.done.append(form.Message("user", fields["input"], at="input"))
        return tuple(turns.done)
    for index, item in enumerate(_listed(fields, "input")):
        turns.add(item, f"input[{index}]")
    turns.close()
    return tuple(turns.done)


def _read_tool(tool: Any, where: str) -> form.Tool | form.Opaque:
    if not isinstance(tool, Mapping):
        raise form.Unreadable(where, "must be an object")
    if tool.get("type") != "function":
        return form.Opaque(NAME, tool, at=where)
    return form.Tool(
        text(tool, "name", where),
        tool.get("description"),
        tool.get("parameters"),
        tool.get("strict"),
        rest(tool, "type", "name", "description", "parameters", "strict"),
        at=where,
    )


def _read_choice(found: Any) -> tuple[form.Choose | None, dict[str, Any]]:
    """Which tools may be called, or the member as it stood when only this dialect can say it."""
    if found is None:
        return None, {}
    if found in ("auto", "none", "required"):
        return form.Choose(found), {}
    if isinstance(found, Mapping) and found.keys() == {"type", "name"} and found["type"] == "function":
        return form.Choose("tool", text(found, "name", "tool_choice")), {}
    return None, {"tool_choice": found}


def _read_text(found: Any) -> tuple[form.Format | None, dict[str, Any]]:
    """How the answer is to look, and what else is said of its text."""
    if found is None:
        return None, {}
    if not isinstance(found, Mapping):
        raise form.Unreadable("text", "must be an object")
    look = found.get("format")
    if not found:
        return None, {"text": form.Spelt(found)}
    known = _FORMATS.get(str(look.get("type"))) if isinstance(look, Mapping) else None
    if known is None or not isinstance(look, Mapping):
        return None, {"text": form.Rest(rest(found))}
    kind = look["type"]
    if kind == "json_schema":
        text(look, "name", "text.format")
    other, more = rest(found, "format"), rest(look, *known)
    if more:
        other["format"] = form.Rest(more)
    shape = form.Format(kind, look.get("name") or "", look.get("schema"), look.get("strict"), look.get("description"))
    return shape, {"text": form.Rest(other)} if other else {}


def _read_effort(found: Any) -> tuple[str | None, dict[str, Any]]:
    if found is None:
        return None, {}
    if not isinstance(found, Mapping):
        raise form.Unreadable("reasoning", "must be an object")
    if not found:
        return None, {"reasoning": form.Spelt(found)}
    other = rest(found, "effort")
    return _typed(found, "effort", str), {"reasoning": form.Rest(other)} if other else {}


def write_request(asked: form.Request, losses: form.Losses) -> dict[str, Any]:
    """The body that asks this; what cannot be said here is named in `losses`."""
    own = asked.dialect == NAME
    out: dict[str, Any] = {"model": asked.model}
    messages = asked.messages
    if messages and (own or len(messages) > 1) and _instructs(messages[0]):
        out["instructions"] = messages[0].parts
        messages = messages[1:]
    out["input"] = _write_input(asked, messages, losses)
    if asked.tools:
        out["tools"] = [
            each for each in (_write_tool(tool, n, asked, losses) for n, tool in enumerate(asked.tools)) if each
        ]
    said = _write_said(asked)
    if not own and not out.get("tools"):
        # Of another dialect nothing is said of tools where there are none: servers refuse it.
        for field, name in (("choose", "tool_choice"), ("parallel", "parallel_tool_calls")):
            if said.pop(name, None) is not None:
                losses.add(asked.where(field))
    out |= said
    _lose_foreign(asked, losses)
    kept = Path("", losses, own=own).keep(asked.extra) if own else _translated(asked, losses)
    out = merged(out, kept)
    if own and "input" in asked.extra and out["input"] is None:
        del out["input"]
    return out


def _lose_foreign(asked: form.Request, losses: form.Losses) -> None:
    """Name what this protocol has no word for."""
    for name in _FOREIGN:
        if getattr(asked, name) is not None:
            losses.add(asked.where(name))
    if asked.n not in {None, 1}:
        losses.add(asked.where("n"))
    if asked.thinking or (asked.adaptive and not asked.effort):
        losses.add(asked.where("thinking"))
    if asked.thinking == 0 and asked.effort:
        losses.add(asked.where("effort"))


def _instructs(first: form.Message) -> bool:
    """Whether a message is what `instructions` say."""
    return first.role == "system" and isinstance(first.parts, str) and not (first.extra or first.name)


def _write_said(asked: form.Request) -> dict[str, Any]:
    """The members that are one word each."""
    choose, tier = asked.choose, asked.tier
    effort = (
        "none" if asked.thinking == 0 else asked.effort or (budget_effort(asked.thinking) if asked.thinking else None)
    )
    named = {"type": "function", "name": choose.name} if choose and choose.mode == "tool" else None
    said: dict[str, Any] = {
        "tool_choice": named or (choose.mode if choose else None),
        "parallel_tool_calls": asked.parallel,
        "text": {"format": _write_format(asked.format)} if asked.format is not None else None,
        "max_output_tokens": asked.max_output,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "stream": asked.stream or None,
        "reasoning": {"effort": effort} if effort is not None else None,
        asked.where("user") if asked.dialect == NAME else "user": asked.user,
        "include": None if asked.logprobs is None else [LOGPROBS],
        "top_logprobs": asked.logprobs or None,
        "service_tier": next((name for name, value in TIERS.items() if value == tier), None) if tier else None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _write_input(asked: form.Request, messages: Sequence[form.Message], losses: form.Losses) -> Any:
    """A text alone where one user's message is all there is, else items."""
    if len(messages) == 1 and isinstance(messages[0].parts, str):
        only = messages[0]
        if only.role == "user" and not (only.extra or only.name):
            return only.parts
    skipped = len(asked.messages) - len(messages)
    return write_items(messages, asked.dialect, losses, first=skipped)


def _write_tool(
    tool: form.Tool | form.Opaque, index: int, asked: form.Request, losses: form.Losses
) -> dict[str, Any] | None:
    path = Path(tool.at or f"tools[{index}]", losses, own=asked.dialect == NAME)
    if isinstance(tool, form.Opaque):
        if tool.dialect == NAME:
            return dict(tool.value)
        path.lose()
        return None
    out: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.schema is not None or not path.own:
        out["parameters"] = tool.schema
    if tool.description is not None:
        out["description"] = tool.description
    # What is not said means strict here and not strict everywhere else.
    strict = tool.strict if path.own or tool.strict is not None else False
    if strict is not None:
        out["strict"] = strict
    return out | path.keep(tool.extra)


def _write_format(look: form.Format) -> dict[str, Any]:
    if look.kind != "json_schema":
        return {"type": look.kind}
    out: dict[str, Any] = {"type": "json_schema", "name": look.name or "answer", "schema": look.schema}
    if look.strict is not None:
        out["strict"] = look.strict
    if look.description is not None:
        out["description"] = look.description
    return out


def _translated(asked: form.Request, losses: form.Losses) -> dict[str, Any]:
    """What another protocol's own words come to here."""
    sister = sisters(asked.dialect, NAME)
    path = Path("", losses, own=False, shared=BOTH if sister else ())
    verbosity = asked.extra.get("verbosity") if sister else None
    out = path.keep(asked.extra, *(["verbosity"] if sister else []))
    return {**out, "text": {"verbosity": verbosity}} if verbosity is not None else out
