"""Bodies of OpenAI Chat Completions as they come: requests and answers, with what is usual, what is rare, and what nobody knows yet."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.dialects import responses_bodies
from tests.dialects.responses_bodies import Strategy, data, name, nothing_more, plain, unknown, words

CACHE = st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
ARGUMENTS = ["", "{}", '{"a":1}', '{ "b": [1.5, "é", null] }', '{"a', "[]", '{"n": 123456789012345678901234567890}']
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
text = st.text(max_size=12)


def record(
    needed: dict[str, Any], optional: dict[str, Any] | None = None, *, more: Strategy = nothing_more
) -> Strategy:
    """An object with these members, the optional ones now and then; nothing else unless it is said."""
    return responses_bodies.record(needed, optional, more=more)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Which bodies: those that any protocol can say, or with everything that the protocol allows and servers make of it."""

    rare: bool

    @property
    def more(self) -> Strategy:
        """Members that nobody knows yet."""
        return unknown if self.rare else nothing_more

    def also(self, **members: Strategy) -> dict[str, Strategy]:
        """Members that only rare bodies have."""
        return members if self.rare else {}


@cache
def part(kinds: Kinds) -> Strategy:
    """A part of what a user says."""
    marked = {"cache_control": CACHE}
    url = st.one_of(name.map("https://a.example/{}".format), data.map("data:image/png;base64,{}".format))
    file = {"type": "file"}
    usual = [
        record({"type": "text", "text": text if kinds.rare else words}, marked, more=kinds.more),
        record({"type": "image_url", "image_url": record({"url": url}, more=kinds.more)}, marked, more=kinds.more),
        record({**file, "file": record({"file_data": data.map("data:application/pdf;base64,{}".format)}, {"filename": name})}, marked),
        record({**file, "file": record({"file_data": plain.map("data:text/plain;base64,{}".format)})}, more=kinds.more),
        record({**file, "file": record({"file_id": name}, more=kinds.more)}, marked),
    ]  # fmt: skip
    rare = [
        record({"type": "image_url", "image_url": record({"url": st.just("data:,x"), "detail": st.sampled_from(["low", "", None])})}),
        record({**file, "file": record({"file_data": data, "filename": name})}),
        record({**file, "file": record({"file_data": data.map("data:text/plain;base64,{}".format)})}),
        record({"type": "input_audio", "input_audio": record({"data": data}, {"format": st.just("wav")})}),
        record({"type": "input_smell", "smell": words}),
        record({"type": "text", "text": words}, {"prompt_cache_breakpoint": st.just({"mode": "explicit"})}),
    ]  # fmt: skip
    return st.one_of(usual + rare if kinds.rare else usual)


@cache
def said(kinds: Kinds, roles: tuple[str, ...]) -> Strategy:
    """A message of somebody who is not the model."""
    content = st.one_of(text, st.lists(part(kinds), min_size=1, max_size=3))
    if roles != ("user",):
        content = st.one_of(
            words, st.lists(record({"type": "text", "text": words}, {"cache_control": CACHE}), min_size=1, max_size=2)
        )
    optional = kinds.also(name=st.one_of(name, st.just("")), cache_control=CACHE) if roles == ("user",) else {}
    return record({"role": st.sampled_from(roles), "content": content}, optional, more=kinds.more)


@cache
def call(kinds: Kinds) -> Strategy:
    """A call of a function."""
    arguments = st.sampled_from(ARGUMENTS if kinds.rare else ARGUMENTS[:4])
    function = record({"name": name, "arguments": arguments}, more=kinds.more)
    usual = record(
        {"id": name, "type": "function", "function": function}, kinds.also(cache_control=CACHE), more=kinds.more
    )
    custom = record({"id": name, "type": "custom", "custom": {"name": "x", "input": "y"}})
    return st.one_of(usual, custom) if kinds.rare else usual


thinking = record({"type": "thinking", "thinking": text, "signature": words})
redacted = record({"type": "redacted_thinking", "data": words})


@cache
def thoughts(kinds: Kinds) -> Strategy:
    """Members that say what the model thought: nothing, a text, blocks, or both in step or out of it."""
    blocks = st.lists(st.one_of(thinking, redacted), min_size=1, max_size=2)
    both = blocks.map(lambda found: {"thinking_blocks": found, **_text(found)})
    usual = [st.just({}), both]
    rare = [
        blocks.map(lambda found: {"thinking_blocks": found}),
        st.builds(lambda r: {"reasoning_content": r}, text),
        st.builds(lambda r: {"reasoning": r, "reasoning_content": r}, text),
        st.builds(lambda r, found: {"reasoning_content": r, "thinking_blocks": found}, words, blocks),
        st.just({"thinking_blocks": [{"type": "thinking", "thinking": "x"}]}),
        st.just({"thinking_blocks": [{"type": "thinking", "thinking": "x", "signature": "s"}, {"type": "smell"}]}),
        st.just({"thinking_blocks": []}),
    ]
    return st.one_of(usual + rare if kinds.rare else usual)


def _text(blocks: list[dict[str, Any]]) -> dict[str, str]:
    found = "".join(block.get("thinking", "") for block in blocks)
    return {"reasoning_content": found} if found else {}


@cache
def assistant(kinds: Kinds) -> Strategy:
    """A message of the model that calls nothing."""
    parts = [record({"type": "text", "text": text if kinds.rare else words}, {"cache_control": CACHE})]
    parts += [record({"type": "refusal", "refusal": words})] if kinds.rare else []
    content = st.one_of(words, st.lists(st.one_of(parts), min_size=1, max_size=2))
    rare = kinds.also(refusal=st.one_of(words, st.none()), audio=record({"id": name}), name=name)
    return st.tuples(record({"role": "assistant", "content": content}, rare, more=kinds.more), thoughts(kinds)).map(
        lambda pair: {**pair[1], **pair[0]}
    )


@cache
def content(kinds: Kinds) -> Strategy:
    """Words beside calls."""
    return st.one_of(st.none(), words, *([st.just(""), st.just([]), text] if kinds.rare else []))


@cache
def calls(kinds: Kinds) -> Strategy:
    """Calls beside each other."""
    return st.lists(call(kinds), min_size=1, max_size=3, unique_by=lambda found: found["id"])


@cache
def result(kinds: Kinds) -> Strategy:
    """What a call gave."""
    parts = part(kinds) if kinds.rare else record({"type": "text", "text": words}, {"cache_control": CACHE})
    told = st.one_of(text, st.lists(parts, max_size=2))
    return record({"role": "tool", "content": told}, {"cache_control": CACHE}, more=kinds.more)


@st.composite
def called(draw: st.DrawFn, kinds: Kinds) -> list[dict[str, Any]]:
    """A message of the model with calls, and what each of them gave."""
    found = draw(calls(kinds))
    message = {"role": "assistant", "tool_calls": found, **draw(thoughts(kinds))}
    if draw(st.booleans()):
        message["content"] = draw(content(kinds))
    return [message, *({**draw(result(kinds)), "tool_call_id": one["id"]} for one in found)]


@cache
def turns(kinds: Kinds) -> Strategy:
    """What one side says, and then another."""
    found = [st.tuples(said(kinds, ("user",))), st.tuples(assistant(kinds)), called(kinds)]
    found += [st.tuples(said(kinds, ("system", "developer")))] if kinds.rare else []
    return st.lists(st.one_of(found), min_size=1, max_size=4)


@st.composite
def conversation(draw: st.DrawFn, kinds: Kinds) -> list[dict[str, Any]]:
    """Messages in an order that the protocol allows."""
    found: list[dict[str, Any]] = draw(st.lists(said(kinds, ("system", "developer")), max_size=2))
    for turn in draw(turns(kinds)):
        found += turn
    if kinds.rare and draw(st.booleans()):
        found.append({"role": "function", "name": "old", "content": "x"})
    return found


@cache
def tool(kinds: Kinds) -> Strategy:
    """A tool."""
    schema = st.sampled_from([SCHEMA, {}])
    optional = {"description": text, "parameters": schema, "strict": st.booleans()}
    function = record({"name": name}, optional, more=kinds.more)
    usual = record({"type": "function", "function": function}, {"cache_control": CACHE}, more=kinds.more)
    custom = record({"type": "custom", "custom": record({"name": name})})
    return st.one_of(usual, custom) if kinds.rare else usual


@cache
def options(kinds: Kinds) -> dict[str, Strategy]:
    """The other members of a request."""
    named = st.builds(lambda n: {"type": "function", "function": {"name": n}}, name)
    schema = record({"name": "n", "schema": st.just(SCHEMA)}, {"strict": st.booleans()}, more=kinds.more)
    look = [st.just({"type": "text"}), record({"type": "json_schema", "json_schema": schema})]
    look += [st.just({"type": "json_object"}), st.just({"type": "grammar", "grammar": "x"})] if kinds.rare else []
    usual: dict[str, Strategy] = {
        "tools": st.lists(tool(kinds), min_size=1, max_size=2),
        "response_format": st.one_of(look),
        "max_completion_tokens": st.integers(1, 99),
        "max_tokens": st.integers(1, 99),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 9),
        "stop": st.one_of(words, st.lists(words, max_size=2)),
        "n": st.just(1),
        "stream": st.booleans(),
        "stream_options": st.just({"include_usage": True}),
        "reasoning_effort": st.sampled_from(["none", "low", "high", "max"]),
        "user": words,
        "service_tier": st.sampled_from(["auto", "default"]),
    }
    some = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    rare = kinds.also(
        tool_choice=st.one_of(st.sampled_from(["auto", "none", "required"]), named, st.just(some)),
        parallel_tool_calls=st.one_of(st.booleans(), st.none()),
        temperature=st.one_of(st.floats(0, 2), st.none()),
        n=st.integers(1, 3),
        seed=st.integers(-9, 9),
        top_k=st.sampled_from([-1, 0, 5]),
        safety_identifier=words,
        reasoning_effort=st.sampled_from(["none", "minimal", "xhigh"]),
        service_tier=st.sampled_from(["flex", None]),
        logprobs=st.booleans(),
        top_logprobs=st.integers(0, 2) | st.none(),
        logit_bias=st.just({"50256": -100}),
        metadata=st.dictionaries(name, words, max_size=2),
        modalities=st.just(["text", "audio"]),
        tools=st.lists(tool(kinds), max_size=2),
    )
    return usual | rare


@cache
def shape(kinds: Kinds) -> Strategy:
    """A request, its members apart from each other."""
    return record({"model": name, "messages": conversation(kinds)}, options(kinds), more=kinds.more)


@st.composite
def _request(draw: st.DrawFn, kinds: Kinds) -> dict[str, Any]:
    found = draw(shape(kinds))
    if "tools" in found and not kinds.rare and draw(st.booleans()):
        names = st.sampled_from([tool["function"]["name"] for tool in found["tools"]])
        named = names.map(lambda n: {"type": "function", "function": {"name": n}})
        found["tool_choice"] = draw(st.one_of(st.sampled_from(["auto", "required"]), named))
        found["parallel_tool_calls"] = draw(st.booleans())
    if not kinds.rare and "max_tokens" in found:
        found.pop("max_completion_tokens", None)
    return found


requests = st.booleans().flatmap(lambda rare: _request(Kinds(rare)))
"""Any request."""
usual_requests = _request(Kinds(rare=False))
"""Requests that say only what any protocol can say, thoughts and marks for the cache included."""

tokens = st.integers(0, 99)


@cache
def details(kinds: Kinds) -> Strategy:
    """Members of usage beyond the sums."""
    return record(
        {},
        {
            "prompt_tokens_details": record({}, {"audio_tokens": st.just(0)}, more=kinds.more),
            "completion_tokens_details": record({"reasoning_tokens": tokens}, more=kinds.more),
        },
    )


@st.composite
def _usage(draw: st.DrawFn, kinds: Kinds) -> dict[str, Any]:
    cached, written, fresh, spoken = draw(tokens), draw(tokens), draw(tokens), draw(tokens)
    found = draw(details(kinds))
    if "prompt_tokens_details" in found:
        found["prompt_tokens_details"] |= {"cached_tokens": cached, "cache_write_tokens": written}
    asked = cached + written + fresh
    return {**found, "prompt_tokens": asked, "completion_tokens": spoken, "total_tokens": asked + spoken}


_token = {"token": words, "logprob": st.just(-0.5), "bytes": st.none() | st.just([97])}
tokens_said = st.lists(
    st.fixed_dictionaries({**_token, "top_logprobs": st.lists(st.fixed_dictionaries(_token), max_size=2)}), max_size=2
)
likely = record({"content": tokens_said | st.none()}, {"refusal": tokens_said | st.none()})
"""How likely tokens were."""


@cache
def _around(kinds: Kinds) -> Strategy:
    rare = kinds.also(logprobs=st.none() | st.just({"content": []}) | likely)
    return record({}, rare, more=kinds.more)


_odd = record({}, {"refusal": words, "content": st.just(""), "annotations": st.just([]), "audio": st.just({"id": "a"})})
_stopped = st.one_of(words, st.just(7), st.none())


@st.composite
def choice(draw: st.DrawFn, kinds: Kinds, index: int = 0) -> dict[str, Any]:
    """One choice of an answer."""
    message = {"role": "assistant", "content": draw(words | st.none()), "refusal": None, **draw(thoughts(kinds))}
    if draw(st.booleans()):
        message["tool_calls"] = draw(calls(kinds))
    usual = ["tool_calls"] if "tool_calls" in message else ["stop", "length", "content_filter"]
    reason = draw(st.sampled_from(usual + (["eos", None, "stop"] if kinds.rare else [])))
    message |= draw(_odd) if kinds.rare else {}
    found = {"index": index, "message": message, "finish_reason": reason, **draw(_around(kinds))}
    if reason == "stop" and len(usual) > 1 and not message["refusal"] and draw(st.booleans()):
        found["stop_reason"] = draw(_stopped if kinds.rare else words)
    return found


@cache
def _head(kinds: Kinds) -> Strategy:
    rare = kinds.also(system_fingerprint=st.one_of(words, st.none()), service_tier=st.just("default"))
    needed = {"id": name, "object": "chat.completion", "model": name, "created": tokens}
    return record(needed, rare, more=kinds.more)


@st.composite
def _answer(draw: st.DrawFn, kinds: Kinds) -> dict[str, Any]:
    found = draw(_head(kinds))
    count = draw(st.integers(1, 2)) if kinds.rare else 1
    found["choices"] = [draw(choice(kinds, index)) for index in range(count)]
    if not kinds.rare or draw(st.booleans()):
        found["usage"] = draw(_usage(kinds))
    return dict(found)


answers = st.booleans().flatmap(lambda rare: _answer(Kinds(rare)))
"""Any whole answer."""
usual_answers = _answer(Kinds(rare=False))
