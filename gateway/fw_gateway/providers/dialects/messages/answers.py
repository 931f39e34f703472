"""A whole answer of Messages, read and written."""

from collections.abc import Mapping
from typing import Any

from fw_gateway.providers.dialects.messages.parts import read_content, write_content
from fw_gateway.providers.dialects.messages.words import NAME, REASONS, WORDS, Writing
from fw_gateway.providers.form import Answer, Choice, Losses, Reason, Refusal, Rest, Spelt, ToolCall, Unreadable
from fw_gateway.providers.wire import Members, under
from fw_gateway.values import Usage


def read_answer(found: Mapping[str, Any]) -> Answer:
    """A parsed body as the form. Raises Unreadable when it is no answer."""
    body = Members(found)
    if body.look("type") == "error" or body.look("error"):
        raise Unreadable("error", "is an error, not an answer")
    content = body.items("content")
    if content is None:
        raise Unreadable("content", "is missing")
    for name, value in (("type", "message"), ("role", "assistant")):
        if body.look(name) == value:
            body.take(name)
    parts = read_content(content, "content")
    raw, sequence = body.text("stop_reason"), body.said("stop_sequence")
    usage = body.inner("usage") if isinstance(body.look("usage"), Mapping) else None
    counted = None if usage is None else read_usage(usage)
    body.settle("usage", usage)
    choice = Choice(parts if not isinstance(parts, str) else (), REASONS.get(raw, ""), raw, sequence)
    return Answer(NAME, body.text("id"), body.text("model"), (choice,), counted, extra=body.rest())


def read_usage(members: Members) -> Usage:
    """Usage as it was reported: here what is read from a cache or written to one is not part of the input."""
    written, cached = members.count("cache_creation_input_tokens"), members.count("cache_read_input_tokens")
    fresh, outgoing = members.count("input_tokens"), members.count("output_tokens")
    details = (
        members.inner("output_tokens_details") if isinstance(members.look("output_tokens_details"), Mapping) else None
    )
    reasoning = None if details is None else details.count("thinking_tokens")
    members.settle("output_tokens_details", details)
    for name, value in members.rest().items():
        if _nothing(value) and not isinstance(value, Rest):
            members.keep(name, Spelt(value))
    total = None if fresh is None else fresh + (written or 0) + (cached or 0)
    return Usage(total, outgoing, cached, written, reasoning)


def _nothing(value: Any) -> bool:
    """Whether a member of usage counts nothing: zero, or zeros alone."""
    if isinstance(value, Mapping):
        return all(_nothing(inner) for inner in value.values())
    return value is None or (isinstance(value, int) and value == 0)


def write_answer(answer: Answer, losses: Losses, *, seed: str = "") -> dict[str, Any]:
    """The form as a body. `seed`: what an id is made of, for an answer that has none.

    The protocol has one choice, and a number for usage even when it is unknown: then it is 0, and named.
    """
    writing = Writing(answer.dialect == NAME, answer.dialect, losses, asking=False)
    choice = answer.choices[0] if answer.choices else Choice((), "")
    for other in answer.choices[1:]:
        losses.add(other.at)
    id_ = answer.id if answer.id or writing.own else f"msg_{seed}"
    out: dict[str, Any] = {"content": write_content(choice.parts, writing), "stop_sequence": choice.sequence}
    if writing.own:
        out = {name: value for name, value in out.items() if value is not None}
        out |= {"stop_reason": choice.raw} if choice.raw else {}
    else:
        out["stop_reason"] = finish_of(_outcome(choice, writing), choice.at, losses)
        writing.rest({}, choice.extra, choice.at)
    for name, value in (("id", id_), ("model", answer.model)):
        out |= {name: value} if value or not writing.own else {}
    for name, value in (("type", "message"), ("role", "assistant")):
        out |= {name: value} if name not in answer.extra else {}
    if answer.created is not None:
        losses.add("created")
    if answer.usage is not None or not writing.own:
        out["usage"] = write_usage(answer.usage or Usage())
        if writing.own:
            out["usage"] = {name: value for name, value in out["usage"].items() if value is not None}
        else:
            _number(out["usage"], answer.usage, losses)
    writing.rest(out, answer.extra, "")
    return out


def _outcome(choice: Choice, writing: Writing) -> Reason:
    """Why the choice finished, as clients of this protocol look for it: calls and refusals are told by the reason."""
    if choice.reason not in {"stop", ""}:
        return choice.reason
    if not choice.reason:
        writing.losses.add(under(choice.at, "finish_reason"))
    if any(isinstance(part, ToolCall) for part in choice.parts):
        return "tool_calls"
    if any(isinstance(part, Refusal) for part in choice.parts):
        writing.losses.add(under(choice.at, "finish_reason"))
        return "refusal"
    return choice.reason


def finish_of(reason: Reason, at: str, losses: Losses) -> str:
    """The protocol's word for a reason; one that the form has no word for is named."""
    if not reason:
        losses.add(under(at, "finish_reason"))
    return WORDS[reason]


def write_usage(usage: Usage) -> dict[str, Any]:
    """Usage, None where it is unknown."""
    known = usage.input_tokens
    fresh = None if known is None else max(0, known - (usage.cached_tokens or 0) - (usage.cache_write_tokens or 0))
    out = {
        "input_tokens": fresh,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    details = None if usage.reasoning_tokens is None else {"thinking_tokens": usage.reasoning_tokens}
    return out | ({} if details is None else {"output_tokens_details": details})


def _number(out: dict[str, Any], usage: Usage | None, losses: Losses) -> None:
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        losses.add("usage")
    for name in ("input_tokens", "output_tokens"):
        out[name] = out[name] or 0
    for name in [name for name, value in out.items() if value is None]:
        del out[name]
