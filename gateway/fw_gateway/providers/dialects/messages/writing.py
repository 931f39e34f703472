"""The form written as a request of Messages."""

from typing import Any

from fw_gateway.providers.dialects.messages.turns import write_conversation
from fw_gateway.providers.dialects.messages.words import BUDGETS, EFFORTS, LEAST_BUDGET, NAME, Thinks, Writing
from fw_gateway.providers.form import Losses, Opaque, Request, Tool
from fw_gateway.providers.wire import under

MAX_TOKENS = 4_096
"""Output allowed when nothing was said; the protocol wants a number."""

_TIERS = {"auto": "auto", "standard": "standard_only"}
_MODES = {"auto": "auto", "none": "none", "required": "any"}
_EMPTY_SCHEMA = {"type": "object", "properties": {}}


def write_request(
    asked: Request,
    losses: Losses,
    *,
    max_tokens: int = MAX_TOKENS,
    thinks: Thinks = "adaptive",
    system_anywhere: bool = False,
) -> dict[str, Any]:
    """The form as a body. What the protocol cannot say is named in `losses`.

    `max_tokens` holds when nothing was said (with a budget to think, on top of it). `thinks`: how the model is told to think.
    `system_anywhere`: the model takes the words of the system behind a user's; otherwise, and elsewhere, a user says them.
    """
    writing = Writing(asked.dialect == NAME, asked.dialect, losses)
    out: dict[str, Any] = {"model": asked.model}
    out |= write_conversation(asked.messages, writing, anywhere=system_anywhere)
    tools = [_tool(tool, writing) for tool in asked.tools]
    if any(tools):
        out["tools"] = [tool for tool in tools if tool is not None]
    said: dict[str, Any] = {
        "max_tokens": max_tokens if asked.max_output is None else asked.max_output,
        "tool_choice": _choice(asked, writing, tools="tools" in out),
        "metadata": None if asked.user is None else {"user_id": asked.user},
        "service_tier": _TIERS[asked.tier] if asked.tier else None,
        "stop_sequences": [asked.stop] if isinstance(asked.stop, str) else asked.stop and list(asked.stop),
        "stream": asked.stream or None,
        "temperature": _temperature(asked, writing),
        "top_p": asked.top_p,
        "top_k": asked.top_k,
    }
    out |= {name: value for name, value in said.items() if value is not None}
    if asked.stop == ():
        out["stop_sequences"] = []
    _think(out, asked, writing, thinks)
    _format(out, asked, writing)
    if asked.n is not None and asked.n != 1:
        losses.add(asked.where("n"))
    if asked.seed is not None:
        losses.add(asked.where("seed"))
    writing.rest(out, asked.extra, "")
    return out


def _tool(tool: Tool | Opaque, writing: Writing) -> dict[str, Any] | None:
    if isinstance(tool, Opaque):
        if tool.dialect == NAME:
            return dict(tool.value)
        writing.losses.add(tool.at)
        return None
    out = {"name": tool.name, "input_schema": _EMPTY_SCHEMA if tool.schema is None else tool.schema}
    out |= {} if tool.description is None else {"description": tool.description}
    out |= {} if tool.strict is None else {"strict": tool.strict}
    writing.rest(out, tool.extra, tool.at)
    return out


def _choice(asked: Request, writing: Writing, *, tools: bool) -> dict[str, Any] | None:
    """Which tools may be called. Of another dialect nothing is said without tools: the protocol forbids it."""
    choose, alone = asked.choose, None if asked.parallel is None else not asked.parallel
    if not writing.own and not tools:
        for field, value in (("choose", choose), ("parallel", asked.parallel)):
            if value is not None:
                writing.losses.add(asked.where(field))
        return None
    if choose is None:
        return {"type": "auto", "disable_parallel_tool_use": True} if alone else None
    out: dict[str, Any] = (
        {"type": choose.mode, "name": choose.name} if choose.mode == "tool" else {"type": _MODES[choose.mode]}
    )
    if alone and choose.mode == "none" and not writing.own:
        writing.losses.add(asked.where("parallel"))
    elif alone is not None and (alone or writing.own):
        out["disable_parallel_tool_use"] = alone
    return out


def _temperature(asked: Request, writing: Writing) -> float | None:
    if asked.temperature is not None and asked.temperature > 1 and not writing.own:
        writing.losses.add(asked.where("temperature"))
        return 1
    return asked.temperature


def _think(out: dict[str, Any], asked: Request, writing: Writing, thinks: Thinks) -> None:
    """Thinking and effort, in the way that the model understands."""
    effort, tokens = asked.effort, asked.thinking
    if not writing.own:
        effort, tokens = _translated(out, asked, writing, thinks)
    adaptive = asked.adaptive if writing.own else thinks == "adaptive" and effort is not None and tokens is None
    if adaptive:
        out["thinking"] = {"type": "adaptive"}
    elif tokens is not None:
        out["thinking"] = {"type": "enabled", "budget_tokens": tokens} if tokens else {"type": "disabled"}
    if effort is not None and (writing.own or thinks != "budget"):
        out.setdefault("output_config", {})["effort"] = effort


def _translated(out: dict[str, Any], asked: Request, writing: Writing, thinks: Thinks) -> tuple[str | None, int | None]:
    """Effort and tokens of another dialect in the words of the model."""
    effort, tokens = asked.effort, asked.thinking
    if tokens == 0 or effort == "none":
        return None, 0
    if effort is not None and effort not in EFFORTS:
        writing.losses.add(asked.where("effort"))
        effort = "low" if effort == "minimal" else None
    if tokens is None:
        tokens = BUDGETS[effort] if effort and thinks == "budget" else None
    elif thinks != "budget":
        writing.losses.add(asked.where("thinking"))
        effort, tokens = (
            effort or next((word for word, least in reversed(list(BUDGETS.items())) if tokens >= least), "low"),
            None,
        )
    if tokens is None:
        return effort, None
    if asked.max_output is None:
        out["max_tokens"] += tokens
    elif tokens >= asked.max_output:
        writing.losses.add(asked.where("effort"))
        tokens = asked.max_output - 1 if asked.max_output > LEAST_BUDGET else None
    return effort, tokens


def _format(out: dict[str, Any], asked: Request, writing: Writing) -> None:
    """The only format is a schema, always kept strictly, without a name."""
    form = asked.format
    if form is None or form.kind == "text":
        return
    if form.kind == "json_object" or not isinstance(form.schema, dict):
        writing.losses.add(asked.where("format"))
        return
    out.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": form.schema}
    for name in ("name", "description"):
        if getattr(form, name):
            writing.losses.add(under(asked.where("format"), name))
