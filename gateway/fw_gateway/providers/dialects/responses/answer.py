"""Answers of the Responses API, to and from the form."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fw_gateway.providers import form
from fw_gateway.providers.dialects.responses.items import read_spoken, runs, write_call, write_message
from fw_gateway.providers.dialects.responses.parts import NAME, Path, merged, rest, write_part, write_reasoning
from fw_gateway.providers.dialects.responses.request import write_request
from fw_gateway.values import Usage

ECHOED: Final = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "previous_response_id",
    "prompt_cache_key", "reasoning", "safety_identifier", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
    "truncation", "user",
)  # fmt: skip
"""What an answer repeats of its request."""

DEFAULTS: Final[Mapping[str, Any]] = {
    "background": False, "error": None, "incomplete_details": None, "instructions": None, "max_output_tokens": None,
    "max_tool_calls": None, "metadata": {}, "parallel_tool_calls": True, "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None}, "service_tier": None, "store": False, "temperature": None,
    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": None,
    "truncation": "disabled", "usage": None, "user": None,
}  # fmt: skip
"""A response that says nothing. Nothing is stored here; a temperature that was not named is the upstream's own, unknown."""

_TOLD: Final = (*ECHOED, "background", "completed_at", "store")
"""What says nothing of the answer."""

_READ: Final[Mapping[str, form.Reason]] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_CUT: Final[Mapping[str, str]] = {
    "length": "max_output_tokens",
    "context": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
"""Reasons that leave an answer incomplete, in this protocol's words."""

_INEXACT: Final = frozenset({"context", "pause", "stop_sequence"})
_OPEN: Final = frozenset({"failed", "cancelled", "in_progress", "queued"})
_KNOWN: Final = ("id", "object", "model", "created_at", "status", "incomplete_details", "output", "usage")


def read_answer(found: Any) -> form.Answer:
    """A whole response.

    Raises:
        Unreadable: it is none.
    """
    if not isinstance(found, Mapping) or not isinstance(found.get("output"), list):
        raise form.Unreadable("output", "the upstream's answer has no output")
    parts = read_output(found["output"])
    usage, more = read_usage(found.get("usage"))
    reason, raw = read_reason(found, calls=any(isinstance(part, form.ToolCall) for part in parts))
    created = found.get("created_at")
    return form.Answer(
        NAME,
        _text(found.get("id")),
        _text(found.get("model")),
        (form.Choice(parts, reason, raw, at="output"),),
        usage,
        int(created) if isinstance(created, int | float) else None,
        {**rest(found, *_KNOWN, mute=_TOLD), **({"usage": form.Rest(more)} if more else {})},
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def read_output(items: Sequence[Any]) -> tuple[form.Part, ...]:
    """The parts of all items.

    Raises:
        Unreadable: an item lacks what its kind must have.
    """
    parts: list[form.Part] = []
    for index, item in enumerate(items):
        where = f"output[{index}]"
        if not isinstance(item, Mapping):
            raise form.Unreadable(where, "must be an object")
        parts += read_spoken(item, where, parts[-1:])
    return tuple(parts)


def read_reason(found: Mapping[str, Any], *, calls: bool) -> tuple[form.Reason, str]:
    """Why a response ended, one that wants functions called or not: the reason, and its own words."""
    status = _text(found.get("status")) or "completed"
    if status == "completed":
        return ("tool_calls" if calls else "stop"), status
    details = found.get("incomplete_details")
    raw = _text(details.get("reason")) if status == "incomplete" and isinstance(details, Mapping) else ""
    return _READ.get(raw, ""), raw or status


def read_usage(found: Any) -> tuple[Usage | None, dict[str, Any]]:
    """Usage as it was reported, and the members that it has no word for."""
    if not isinstance(found, Mapping):
        return None, {}
    usage = Usage(
        input_tokens=_count(found, "input_tokens"),
        output_tokens=_count(found, "output_tokens"),
        cached_tokens=_count(found.get("input_tokens_details"), "cached_tokens"),
        cache_write_tokens=_count(found.get("input_tokens_details"), "cache_write_tokens"),
        reasoning_tokens=_count(found.get("output_tokens_details"), "reasoning_tokens"),
    )
    return usage, _beyond(found, write_usage(usage, own=True) or {})


def _beyond(found: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What `found` says and `said` does not."""
    more: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, Mapping) and isinstance(said.get(name), Mapping):
            inner = _beyond(value, said[name])
            more |= {name: form.Rest(inner)} if inner else {}
        elif name not in said or value != said[name]:
            more[name] = value
    return more


def _count(holder: Any, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def write_usage(usage: Usage | None, *, own: bool = False) -> dict[str, Any] | None:
    """Usage in this protocol; None when a total is unknown.

    The protocol has no word for an unknown share of a total: one that was not reported is written as none, unless the report was
    of this dialect's `own`, which is written as it was.
    """
    if usage is None or (not own and None in {usage.input_tokens, usage.output_tokens}):
        return None
    shares = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens}
    thought = {"reasoning_tokens": usage.reasoning_tokens}
    total = (
        None if usage.input_tokens is None or usage.output_tokens is None else usage.input_tokens + usage.output_tokens
    )
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": _shares(shares, own=own),
        "output_tokens": usage.output_tokens,
        "output_tokens_details": _shares(thought, own=own),
        "total_tokens": total,
    }
    return {name: value for name, value in counts.items() if value is not None}


def _shares(found: Mapping[str, int | None], *, own: bool) -> dict[str, int] | None:
    if own:
        return {name: value for name, value in found.items() if value is not None} or None
    return {name: value or 0 for name, value in found.items()}


def write_reason(choice: form.Choice, dialect: str, path: Path) -> dict[str, Any]:
    """Status and, when it was cut, the details of a response that a model of `dialect` gave."""
    reason, sequence = (
        (".finish_reason", ".stop_reason") if dialect.startswith("openai_") else (".stop_reason", ".stop_sequence")
    )
    if choice.sequence is not None:
        path.lose(sequence)
    called = any(isinstance(part, form.ToolCall) for part in choice.parts)
    uncalled = (
        choice.reason == "tool_calls" and not called
    )  # what was called has no word here, and nothing else tells that it was
    if choice.reason in _INEXACT or (not path.own and (choice.reason == "" or uncalled)):
        path.lose(reason)
    if choice.reason == "" and choice.raw in _OPEN:
        return {"status": choice.raw, "incomplete_details": None}
    if path.own and choice.reason == "" and choice.raw:
        details = None if choice.raw == "incomplete" else {"reason": choice.raw}
        return {"status": "incomplete", "incomplete_details": details}
    refused = choice.reason == "refusal" and any(isinstance(part, form.Refusal) for part in choice.parts)
    if choice.reason == "pause":
        return {"status": "incomplete", "incomplete_details": None}
    if choice.reason in _CUT and not refused:
        return {"status": "incomplete", "incomplete_details": {"reason": _CUT[choice.reason]}}
    return {"status": "completed", "incomplete_details": None}


def shell(asked: form.Request | None) -> dict[str, Any]:
    """A response before anything is in it: what it repeats of its request."""
    said = write_request(asked, form.Losses()) if asked is not None else {}
    found = {name: said[name] for name in ECHOED if said.get(name) is not None}
    return {**DEFAULTS, **merged({name: DEFAULTS.get(name) for name in found}, found)}


def write_answer(
    answer: form.Answer,
    losses: form.Losses,
    *,
    asked: form.Request | None = None,
    seed: str = "",
    created: int = 0,
) -> dict[str, Any]:
    """A whole response. `asked`: what it answers.

    Ids are made of `seed`, and it was `created` then (Unix seconds), where another protocol's answer does not say. One that this
    dialect read comes out as it was.
    """
    own = answer.dialect == NAME
    for index, other in enumerate(answer.choices[1:], 1):
        losses.add(other.at or f"choices[{index}]")
    choice = answer.choices[0] if answer.choices else form.Choice((), "stop")
    path = Path(choice.at, losses, own=own)
    ending = write_reason(choice, answer.dialect, path)
    path.keep(choice.extra)
    items = write_output(choice.parts, answer.dialect, path)
    if not own:
        for index, item in enumerate(items):
            name_item(
                item,
                index,
                seed,
                item_status(ending["status"], last=index == len(items) - 1),
            )
    head = {
        "id": answer.id if own else f"resp_{seed}",
        "object": "response",
        "created_at": answer.created if answer.created is not None else created,
        "model": answer.model,
        **ending,
        "output": items,
        "usage": write_usage(answer.usage, own=own),
    }
    kept = Path("", losses, own=own).keep(answer.extra)
    return merged(head, kept) if own else {**shell(asked), **head}


def item_status(status: Any, *, last: bool) -> str:
    """The status of an item: only the last one is cut when the response is."""
    return "incomplete" if last and status == "incomplete" else "completed"


def write_output(parts: Sequence[form.Part], dialect: str, path: Path) -> list[dict[str, Any]]:
    """Parts that a model of `dialect` said, as items; without ids and status where the parts have none."""
    out: list[dict[str, Any]] = []
    for run in runs(parts, own=path.own):
        index, first = run[0]
        step = path.to(f".content[{index}]", first.at)
        match first:
            case form.ToolCall():
                out.append(write_call(first, step))
            case form.Reasoning():
                thoughts = [part for _, part in run if isinstance(part, form.Reasoning)]
                out.append(write_reasoning(thoughts, dialect, step))
            case form.Opaque(dialect=other, value=value) if other == NAME:
                out.append(dict(value))
            case form.ToolResult() | form.Opaque():
                step.lose()
            case _:
                content = [write_said(part, path.to(f".content[{n}]", part.at)) for n, part in run]
                if said := [each for each in content if each is not None]:
                    out.append(write_message(first, {}, said, step))
    return out


def write_said(part: form.Part, path: Path) -> dict[str, Any] | None:
    """A part of a message; only words are said."""
    if path.own or isinstance(part, form.Refusal):
        return write_part(part, path, spoken=True)
    if not isinstance(part, form.Text):
        path.lose()
        return None
    return {"logprobs": [], **(write_part(part, path, spoken=True) or {})}


PREFIXES: Final = {"message": "msg", "function_call": "fc", "reasoning": "rs"}


def name_item(item: dict[str, Any], index: int, seed: str, status: str) -> None:
    """Give an item the id and status that it has not."""
    if prefix := PREFIXES.get(item["type"]):
        item.setdefault("id", f"{prefix}_{seed}_{index}")
        item.setdefault("status", status)


def failure(message: str, kind: str = "", code: str = "") -> dict[str, Any]:
    """The error of a response that failed; a code must be there."""
    usual = "rate_limit_exceeded" if "rate_limit" in kind else "invalid_prompt" if "invalid" in kind else "server_error"
    return {"code": code or usual, "message": message} | ({"type": kind} if kind else {})
