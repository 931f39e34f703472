"""Bodies of Anthropic Messages as they come: requests and answers, with what is usual, what is rare, and what nobody knows yet."""

from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.dialects.chat_bodies import CACHE, SCHEMA, Kinds, record, text, tokens
from tests.dialects.responses_bodies import Strategy, data, name, words

INPUTS = [{}, {"a": 1}, {"b": [1.5, "é", None], "c": {"d": "\u2028"}}]


@cache
def source(kinds: Kinds, media: str) -> Strategy:
    """Where a picture or a document comes from."""
    usual = [
        record({"type": "base64", "media_type": media, "data": data}, more=kinds.more),
        record({"type": "file", "file_id": name}) if media == "application/pdf" else record({"type": "url", "url": name.map("https://a.example/{}".format)}),
    ]  # fmt: skip
    rare = [record({"type": "url", "url": name}), record({"type": "file", "file_id": name}), record({"type": "smell"})]
    return st.one_of(usual + rare if kinds.rare else usual)


@cache
def block(kinds: Kinds) -> Strategy:
    """A block of what a user says."""
    marked = {"cache_control": CACHE}
    rich = kinds.also(context=words, citations=st.just({"enabled": True}))
    plain = record({"type": "text", "media_type": "text/plain", "data": text})
    usual = [
        record({"type": "text", "text": text if kinds.rare else words}, marked, more=kinds.more),
        record({"type": "image", "source": source(kinds, "image/png")}, marked, more=kinds.more),
        record({"type": "document", "source": st.one_of(source(kinds, "application/pdf"), plain)}, {"title": words, **marked, **rich}),
    ]  # fmt: skip
    rare = [
        record({"type": "search_result", "title": words}),
        record({"type": "text", "text": words, "citations": None}),
    ]
    return st.one_of(usual + rare if kinds.rare else usual)


thinking = record({"type": "thinking", "thinking": text, "signature": words})
redacted = record({"type": "redacted_thinking", "data": words})


@cache
def use(kinds: Kinds) -> Strategy:
    """A call of a tool."""
    rare = kinds.also(caller=st.just({"type": "direct"}))
    optional = {"cache_control": CACHE, **rare}
    needed = {"type": "tool_use", "id": name, "name": name, "input": st.sampled_from(INPUTS)}
    return record(needed, optional, more=kinds.more)


@cache
def uses(kinds: Kinds) -> Strategy:
    """Calls beside each other, with what was thought and said before them."""
    before = st.tuples(st.lists(thinking, max_size=1), st.lists(record({"type": "text", "text": words}), max_size=1))
    found = st.lists(use(kinds), min_size=1, max_size=3, unique_by=lambda one: one["id"])
    return st.builds(lambda first, then: [*first[0], *first[1], *then], before, found)


@cache
def result(kinds: Kinds) -> Strategy:
    """What a call gave."""
    told = {"content": st.one_of(text, st.lists(block(kinds), max_size=2))}
    optional = {"cache_control": CACHE, **kinds.also(is_error=st.booleans(), **told)}
    return record({"type": "tool_result", **({} if kinds.rare else told)}, optional)


@st.composite
def exchange(draw: st.DrawFn, kinds: Kinds) -> list[dict[str, Any]]:
    """Calls of the model and what they gave, with what the user says behind the results."""
    said = draw(uses(kinds))
    results = [{**draw(result(kinds)), "tool_use_id": one["id"]} for one in said if one["type"] == "tool_use"]
    behind = draw(st.lists(block(kinds), max_size=2))
    if kinds.rare and draw(st.booleans()):
        said = [*said, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, *said[:1]]
    if kinds.rare and draw(st.booleans()):
        results, behind = behind, results
    return [{"role": "assistant", "content": said}, {"role": "user", "content": results + behind}]


@cache
def spoken(kinds: Kinds) -> Strategy:
    """What the model says without a call."""
    blocks = st.one_of(record({"type": "text", "text": words}, {"cache_control": CACHE}), thinking, redacted)
    found = st.lists(blocks, min_size=1, max_size=3)
    return found if kinds.rare else found.map(lambda said: sorted(said, key=lambda one: bool(one["type"] == "text")))


@cache
def round_(kinds: Kinds) -> Strategy:
    """What a user says, a system behind it, and the model."""
    user = st.builds(
        lambda c: {"role": "user", "content": c}, st.one_of(words, st.lists(block(kinds), min_size=1, max_size=3))
    )
    system = st.builds(
        lambda c: {"role": "system", "content": c}, st.one_of(words, st.just([{"type": "text", "text": "s"}]))
    )
    model = st.builds(lambda c: [{"role": "assistant", "content": c}], st.one_of(words, spoken(kinds)))
    later = st.lists(system, max_size=1)
    return st.builds(lambda first, then, last: [first, *then, *last], user, later, st.one_of(model, exchange(kinds)))


@cache
def conversation(kinds: Kinds) -> Strategy:
    """Messages in an order that the protocol allows: a system speaks behind a user, and then the model or nobody."""
    return st.lists(round_(kinds), min_size=1, max_size=3).map(
        lambda rounds: [one for found in rounds for one in found]
    )


@cache
def tool(kinds: Kinds) -> Strategy:
    """A tool."""
    optional = {"description": text, "strict": st.booleans(), "cache_control": CACHE}
    rare = kinds.also(type=st.sampled_from(["custom", None]), input_examples=st.just([{}]))
    usual = record({"name": name, "input_schema": st.sampled_from([SCHEMA, {}])}, optional | rare, more=kinds.more)
    hosted = record({"type": "web_search_20260318", "name": "web_search"})
    return st.one_of(usual, hosted) if kinds.rare else usual


_effort = st.sampled_from(["low", "high", "max"]).map(lambda word: {"output_config": {"effort": word}})
_thinks = [
    st.just({}),
    st.just({"thinking": {"type": "disabled"}}),
    _effort.map(lambda effort: {"thinking": {"type": "adaptive"}, **effort}),
]
_thinks_rarely = [
    st.integers(1024, 99_999).map(lambda tokens: {"thinking": {"type": "enabled", "budget_tokens": tokens}}),
    st.just({"thinking": {"type": "adaptive", "display": "omitted"}}),
    st.just({"thinking": {"type": "between_tools"}}),
    _effort.map(lambda effort: {"thinking": {"type": "disabled"}, **effort}),
    st.just({"output_config": {}}),
]


@cache
def shape(kinds: Kinds) -> Strategy:
    """A request, its members apart from each other."""
    mark = record({"type": "text", "text": words}, {"cache_control": CACHE})
    usual: dict[str, Strategy] = {
        "system": st.one_of(words, st.lists(mark, max_size=2)),
        "tools": st.lists(tool(kinds), min_size=1, max_size=2),
        "metadata": record({"user_id": words}, more=kinds.more),
        "service_tier": st.sampled_from(["auto", "standard_only"]),
        "stop_sequences": st.lists(words, max_size=2),
        "stream": st.booleans(),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 9),
        "cache_control": CACHE,
    }
    rare = kinds.also(
        inference_geo=words,
        container=st.none(),
        metadata=st.just({"user_id": None}),
        tools=st.lists(tool(kinds), max_size=1),
        top_k=st.just(0),
    )
    needed = {"model": name, "max_tokens": st.integers(1, 99), "messages": conversation(kinds)}
    return record(needed, usual | rare, more=kinds.more)


@st.composite
def _request(draw: st.DrawFn, kinds: Kinds) -> dict[str, Any]:
    found = {**draw(shape(kinds)), **draw(st.one_of(_thinks + (_thinks_rarely if kinds.rare else [])))}
    if draw(st.booleans()):
        found["output_config"] = {**found.get("output_config", {}), "format": {"type": "json_schema", "schema": SCHEMA}}
    if found.get("tools") or kinds.rare:
        mode = draw(st.sampled_from([None, "auto", "any", "none", "tool"]))
        if mode:
            found["tool_choice"] = {"type": mode, **({"name": "t"} if mode == "tool" else {})}
        if mode not in {None, "none"} and draw(st.booleans()):
            found["tool_choice"]["disable_parallel_tool_use"] = draw(st.booleans())
    if found.get("thinking", {}).get("type") in {"adaptive", "enabled"}:
        found = {k: v for k, v in found.items() if k not in {"temperature", "top_p", "top_k"}}
        if "tool_choice" in found and found["tool_choice"]["type"] in {"any", "tool"}:
            found["tool_choice"] = {"type": "auto"}
    return found


requests = st.booleans().flatmap(lambda rare: _request(Kinds(rare)))
"""Any request."""
usual_requests = _request(Kinds(rare=False))
"""Requests that say only what any protocol can say, thoughts and marks for the cache included."""


@cache
def _usage(kinds: Kinds) -> Strategy:
    optional = {
        "cache_creation_input_tokens": tokens,
        "cache_read_input_tokens": tokens,
        "output_tokens_details": record({"thinking_tokens": tokens}),
        "server_tool_use": st.just({"web_search_requests": 0}),
    }
    rare = kinds.also(
        cache_read_input_tokens=st.none(),
        service_tier=st.just("standard"),
        cache_creation=st.just({"ephemeral_5m_input_tokens": 5}),
    )
    return record({"input_tokens": tokens, "output_tokens": tokens}, optional | rare, more=kinds.more)


@cache
def _content(kinds: Kinds) -> Strategy:
    texts = record({"type": "text", "text": words}, {"citations": st.none()})
    server = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    cited = {"type": "text", "text": "x", "citations": [{"type": "char_location"}]}
    odd = st.lists(st.sampled_from([server, cited, {"type": "text", "text": ""}]), max_size=2)
    called = st.lists(use(Kinds(rare=False)), max_size=2, unique_by=lambda found: found["id"])
    called = called.map(lambda found: [{k: v for k, v in one.items() if k != "cache_control"} for one in found])
    groups = st.tuples(st.lists(st.one_of(thinking, redacted), max_size=2), st.lists(texts, max_size=1), called)
    if not kinds.rare:
        return groups.map(lambda found: [one for group in found for one in group])
    return st.tuples(groups, odd).flatmap(
        lambda found: st.permutations([*found[0][0], *found[0][1], *found[0][2], *found[1]])
    )


@cache
def _head(kinds: Kinds) -> Strategy:
    rare = kinds.also(stop_details=st.none() | st.just({"type": "refusal", "category": "bio"}), container=st.none())
    needed = {"id": name, "type": "message", "role": "assistant", "model": name}
    return record({**needed, "content": _content(kinds), "usage": _usage(kinds)}, rare, more=kinds.more)


@st.composite
def _answer(draw: st.DrawFn, kinds: Kinds) -> dict[str, Any]:
    found = draw(_head(kinds))
    called = any(block["type"] == "tool_use" for block in found["content"])
    reasons = ["tool_use"] if called else ["end_turn", "max_tokens", "refusal"]
    rare = ["pause_turn", "model_context_window_exceeded", "new_word"] if kinds.rare else []
    ending = {"stop_reason": draw(st.sampled_from(reasons + rare)), "stop_sequence": None}
    if not called and draw(st.booleans()):
        ending = {"stop_reason": "stop_sequence", "stop_sequence": draw(words)}
    return {**found, **ending}


answers = st.booleans().flatmap(lambda rare: _answer(Kinds(rare)))
"""Any whole answer."""
usual_answers = _answer(Kinds(rare=False))
