"""A whole chat answer, read and written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fw_gateway.providers.dialects.chat.turns import in_order, read_turn, write_turn
from fw_gateway.providers.dialects.chat.words import BEYOND, NAME, REASONS, VAGUE, WORDS, Writing
from fw_gateway.providers.form import Answer, Choice, Extra, Losses, Part, Reason, Rest, Spelt, Text, Unreadable
from fw_gateway.providers.wire import Members, put, under
from fw_gateway.values import Usage

_OBJECT = "chat.completion"


def read_answer(found: Mapping[str, Any]) -> Answer:
    """A parsed body as the form. Raises Unreadable when it is no answer."""
    body = Members(found)
    if body.look("error"):
        raise Unreadable("error", "is an error, not an answer")
    choices = body.items("choices")
    if not choices:
        raise Unreadable("choices", "must be a list of at least one choice")
    read = tuple(_read_choice(Members(choice, f"choices[{index}]"), index) for index, choice in enumerate(choices))
    usage = body.inner("usage") if isinstance(body.look("usage"), Mapping) else None
    counted = read_usage(usage) if usage is not None else None
    body.settle("usage", usage)
    if body.look("object") == _OBJECT:
        body.take("object")
    id_, model, created = body.text("id"), body.text("model"), body.count("created")
    return Answer(NAME, id_, model, read, counted, created, body.rest())


def _read_choice(members: Members, index: int) -> Choice:
    message = members.inner("message")
    if message is None:
        raise members.refuse("message", "is missing")
    parts = _with_logprobs(read_turn(message), members)
    if message.look("role") == "assistant":
        message.take("role")
    members.settle("message", message)
    if members.look("index") == index:
        members.take("index")
    raw = members.text("finish_reason")
    reason, sequence = reason_of(raw, members.look("stop_reason"))
    if sequence is not None:
        members.take("stop_reason")
    return Choice(parts, reason, raw, sequence, members.rest(), members.at)


def _with_logprobs(parts: tuple[Part, ...], members: Members) -> tuple[Part, ...]:
    """The parts with what the choice says of the tokens of its one text."""
    found = members.look("logprobs")
    texts = [part for part in parts if isinstance(part, Text)]
    content = found.get("content") if isinstance(found, Mapping) else None
    inner = members.inner("logprobs") if len(texts) == 1 and content and isinstance(content, list) else None
    if inner is None:
        return parts
    likely = inner.items("content")
    members.settle("logprobs", inner)
    return tuple(replace(part, logprobs=likely) if isinstance(part, Text) else part for part in parts)


def reason_of(raw: str, stopped: Any) -> tuple[Reason, str | None]:
    """Why a choice finished. `stopped` is the stop sequence that was met, where a server says it (`stop_reason`)."""
    reason = REASONS.get(raw, "")
    return ("stop_sequence", stopped) if reason == "stop" and isinstance(stopped, str) else (reason, None)


def read_usage(members: Members) -> Usage:
    """Usage as it was reported; what is zero beyond it says nothing."""
    incoming, outgoing = _details(members, "prompt_tokens_details"), _details(members, "completion_tokens_details")
    usage = Usage(
        input_tokens=members.count("prompt_tokens"),
        output_tokens=members.count("completion_tokens"),
        cached_tokens=incoming.count("cached_tokens"),
        cache_write_tokens=incoming.count("cache_write_tokens"),
        reasoning_tokens=outgoing.count("reasoning_tokens"),
    )
    for name, inner in (("prompt_tokens_details", incoming), ("completion_tokens_details", outgoing)):
        if inner.at:
            members.keep(name, Rest(_quiet(inner.rest())))
    total = members.look("total_tokens")
    if (
        usage.input_tokens is not None
        and usage.output_tokens is not None
        and total == usage.input_tokens + usage.output_tokens
    ):
        members.keep("total_tokens", Spelt(total))
    _quiet(members.rest())
    return usage


def _details(members: Members, name: str) -> Members:
    return (members.inner(name) if isinstance(members.look(name), Mapping) else None) or Members({})


def _quiet(extra: dict[str, Any]) -> dict[str, Any]:
    for name, value in extra.items():
        if value == 0 and isinstance(value, int):
            extra[name] = Spelt(value)
    return extra


def write_answer(answer: Answer, losses: Losses, *, seed: str = "", created: int = 0) -> dict[str, Any]:
    """The form as a body. `seed`: what an id is made of, `created`: Unix seconds, for an answer that does not say its own."""
    writing = Writing(answer.dialect == NAME, BEYOND, losses)
    id_ = answer.id if answer.id or writing.own else f"chatcmpl-{seed}"
    out: dict[str, Any] = {
        "choices": [_write_choice(choice, i, answer, writing) for i, choice in enumerate(answer.choices)]
    }
    out |= {name: value for name, value in (("id", id_), ("model", answer.model)) if value or not writing.own}
    if answer.created is not None or not writing.own:
        out["created"] = created if answer.created is None else answer.created
    if "object" not in answer.extra:
        out["object"] = _OBJECT
    usage = write_usage(answer.usage, own=writing.own) if answer.usage is not None else None
    if usage is not None:
        out["usage"] = usage
    elif answer.usage is not None:
        losses.add("usage")
    writing.rest(out, answer.extra, "")
    return out


def _write_choice(choice: Choice, index: int, answer: Answer, writing: Writing) -> dict[str, Any]:
    message = write_turn(choice.parts, answer.dialect, writing, answer=True)
    rest: Extra = choice.extra.get("message", Rest()).members if writing.own else {}
    if "role" in rest:
        del message["role"]
    put(message, rest)
    if not writing.own:
        message.setdefault("refusal", None)
        if not in_order(choice.parts):
            writing.losses.add(under(choice.at, "content"))
    out: dict[str, Any] = {"message": message}
    out["finish_reason"] = choice.raw if writing.own else finish_of(choice.reason, choice.at, writing.losses)
    texts = [part for part in choice.parts if isinstance(part, Text)]
    likely = [token for part in texts for token in part.logprobs or ()]
    if likely and any(
        part.text and not part.logprobs for part in texts
    ):  # said of one text here: of all of it, or not at all
        for part in filter(lambda text: text.logprobs, texts):
            writing.losses.add(under(part.at, "logprobs"))
    elif likely:
        out["logprobs"] = likelihood(likely) if not writing.own else {"content": likely}
    if choice.sequence is not None:
        out["stop_reason"] = choice.sequence
    if writing.own and not choice.raw:
        del out["finish_reason"]
    writing.rest(out, choice.extra, choice.at)
    return {"index": index, **out}


def likelihood(tokens: Sequence[Any]) -> dict[str, Any]:
    """How likely the tokens of a text were, as the protocol says it."""
    return {"content": [*tokens], "refusal": None}


def finish_of(reason: Reason, at: str, losses: Losses) -> str:
    """The protocol's word for a reason of another one; a reason that it has no word for is named."""
    if reason in VAGUE:
        losses.add(under(at, "stop_reason"))
    return WORDS[reason]


def write_usage(usage: Usage, *, own: bool = False) -> dict[str, Any] | None:
    """What is known of usage. None when the protocol cannot say so little: it wants both counts and their sum."""
    out: dict[str, Any] = {}
    incoming = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens}
    for name, value in (("prompt_tokens", usage.input_tokens), ("completion_tokens", usage.output_tokens)):
        out |= {} if value is None else {name: value}
    if not own:
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        out["total_tokens"] = usage.input_tokens + usage.output_tokens
    details = {name: value for name, value in incoming.items() if value is not None}
    out |= {"prompt_tokens_details": details} if details else {}
    if usage.reasoning_tokens is not None:
        out["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return out
