"""The form written as a request of Messages."""

from typing import Any

from fw_gateway.providers.dialects.messages.manners import Manners, manners_of
from fw_gateway.providers.dialects.messages.turns import write_conversation
from fw_gateway.providers.dialects.messages.words import BUDGETS, EFFORTS, LEAST_BUDGET, NAME, Writing
from fw_gateway.providers.form import Losses, Opaque, Request, Tool
from fw_gateway.providers.wire import under

MAX_TOKENS = 4_096
"""Output allowed when nothing was said; the protocol wants a number."""

_TIERS = {"auto": "auto", "standard": "standard_only"}
_MODES = {"auto": "auto", "none": "none", "required": "any"}
_EMPTY_SCHEMA = {"type": "object", "properties": {}}


def write_request(
    asked: Request, losses: Losses, *, max_tokens: int = MAX_TOKENS, manners: Manners | None = None
) -> dict[str, Any]:
    """The form as a body. What the protocol, or the model, cannot say is named in `losses`.

    `max_tokens` holds when nothing was said (with a budget to think, on top of it). `manners`: what the model understands; None: what
    its name says. What a client of this same dialect said goes out as it stood.
    """
    writing = Writing(asked.dialect == NAME, asked.dialect, losses)
    manners = manners or manners_of(asked.model)
    out: dict[str, Any] = {"model": asked.model}
    out |= write_conversation(asked.messages, writing, anywhere=manners.system_anywhere)
    tools = [_tool(tool, writing) for tool in asked.tools]
    if any(tools):
        out["tools"] = [tool for tool in tools if tool is not None]
    said: dict[str, Any] = {
        "max_tokens": max_tokens if asked.max_output is None else asked.max_output,
        "tool_choice": _choice(asked, writing, tools="tools" in out),
        "metadata": None if asked.user is None else {"user_id": asked.user},
        "service_tier": _TIERS[asked.tier] if asked.tier else None,
        "stop_sequences": [asked.stop] if isinstance(asked.stop, str) else asked.stop,
        "stream": asked.stream or None,
    }
    out |= {
        name: list(value) if isinstance(value, tuple) else value for name, value in said.items() if value is not None
    }
    _think(out, asked, writing, manners)
    _sample(out, asked, writing, manners)
    _format(out, asked, writing)
    if asked.n is not None and asked.n != 1:
        losses.add(asked.where("n"))
    if asked.logprobs is not None:
        losses.add(asked.where("logprobs"))
        if asked.logprobs:
            losses.add("top_logprobs")
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


def _sample(out: dict[str, Any], asked: Request, writing: Writing, manners: Manners) -> None:
    """`temperature` (up to 1), `top_p`, `top_k`: by another dialect only to a model that takes them, and not while it thinks."""
    thinking = out.get("thinking", {}).get("type") in {"enabled", "adaptive"}
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(asked, name)
        if value is None:
            continue
        if not writing.own and (thinking or not manners.sampling):
            writing.losses.add(asked.where(name))
        elif not writing.own and name == "temperature" and value > 1:
            writing.losses.add(asked.where(name))
            out[name] = 1
        else:
            out[name] = value


def _think(out: dict[str, Any], asked: Request, writing: Writing, manners: Manners) -> None:
    """Thinking and effort, in the way that the model understands."""
    if not writing.own:
        _think_as(out, asked, writing, manners)
        return
    if asked.adaptive:
        out["thinking"] = {"type": "adaptive"}
    elif asked.thinking is not None:
        out["thinking"] = (
            {"type": "enabled", "budget_tokens": asked.thinking} if asked.thinking else {"type": "disabled"}
        )
    if asked.effort is not None:
        out["output_config"] = {"effort": asked.effort}


def _think_as(out: dict[str, Any], asked: Request, writing: Writing, manners: Manners) -> None:
    """Effort and tokens of another dialect in the words of the model."""
    effort, tokens = asked.effort, asked.thinking
    if tokens == 0 or effort == "none":
        _hush(out, asked, writing, manners)
        return
    if effort is not None and effort not in EFFORTS:
        writing.losses.add(asked.where("effort"))
        effort = "low" if effort == "minimal" else None
    if tokens is not None and manners.thinks != "budget":
        writing.losses.add(asked.where("thinking"))
        effort = effort or next((word for word, least in reversed(list(BUDGETS.items())) if tokens >= least), "low")
    if effort is None and tokens is None:
        return
    if out.get("tool_choice", {}).get("type") in {"any", "tool"} and manners.sampling:
        writing.losses.add(asked.where("effort" if asked.effort else "thinking"))
    elif manners.thinks == "budget":
        _budget(out, asked, writing, BUDGETS[effort] if tokens is None and effort else tokens or 0)
    else:
        out["output_config"] = {"effort": effort}
        out |= {"thinking": {"type": "adaptive"}} if manners.thinks == "adaptive" else {}


def _hush(out: dict[str, Any], asked: Request, writing: Writing, manners: Manners) -> None:
    """The model is not to think, or as little as it can."""
    if manners.quiet:
        out["thinking"] = {"type": manners.quiet}
        return
    writing.losses.add(asked.where("thinking" if asked.thinking == 0 else "effort"))
    out["output_config"] = {"effort": "low"}


def _budget(out: dict[str, Any], asked: Request, writing: Writing, tokens: int) -> None:
    """Tokens to think with: on top of the limit that nobody asked for, else below it."""
    if asked.max_output is None:
        out["max_tokens"] += tokens
    elif tokens >= asked.max_output:
        writing.losses.add(asked.where("effort" if asked.effort else "thinking"))
        tokens = asked.max_output - 1
    if tokens >= LEAST_BUDGET:
        out["thinking"] = {"type": "enabled", "budget_tokens": tokens}


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
