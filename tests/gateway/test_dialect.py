"""The chat dialect is pure: what it changes in a request, and what it lets through of a stream, is checked on bytes alone."""

import itertools
import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fw_gateway.providers import splice
from fw_gateway.providers.dialects.chat.relay import ChatWatcher, rewrite
from fw_gateway.providers.splice import members, with_model
from fw_gateway.providers.sse import MAX_EVENT
from fw_gateway.providers.watching import MAX_HEAD
from tests.gateway.upstream import BILL, DONE, HELLO, ROLE, STOP, USAGE, WORLD, event

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = st.sampled_from(["model", "messages", "n", 'a"model"', "stream_options", "x\\", "é", "nested"]) | TEXT
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
OPTIONS = st.none() | st.fixed_dictionaries({}, optional={"include_usage": st.booleans(), "x": st.integers()})


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Requests as any client may write them: any order, spacing and escaping, `model` anywhere below too."""
    fields = draw(st.dictionaries(KEYS, VALUES, max_size=5))
    fields["model"] = draw(TEXT)
    if draw(st.booleans()):
        fields["stream_options"] = draw(OPTIONS)
    else:
        fields.pop("stream_options", None)
    order = draw(st.permutations(list(fields)))
    space = draw(st.sampled_from([(", ", ": "), (",", ":"), (" ,\n\t", " : ")]))
    text = json.dumps({name: fields[name] for name in order}, separators=space, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        text = text.replace('"model"', '"mod\\u0065l"')
    return text.encode()


@given(bodies(), TEXT, st.booleans())
def test_rewriting_changes_the_model_and_nothing_else(body: bytes, model: str, usage: bool) -> None:
    """Parsed, the request differs in `model` (and in `include_usage` when asked to); so do its bytes."""
    fields = orjson.loads(body)
    found = rewrite(body, fields, model=model, usage=usage)
    expected: dict[str, Any] = {**fields, "model": model}
    if usage:
        expected["stream_options"] = {**(fields.get("stream_options") or {}), "include_usage": True}
    assert orjson.loads(found) == expected
    if not usage and fields["model"] != model:
        spans = [(start, end) for name, start, end in members(body) if name == "model"]
        start, end = spans[-1]
        assert found.startswith(body[:start])
        assert found.endswith(body[end:])


@given(bodies(), TEXT, st.integers(0, 20))
@example(b'{"x":{"model":"a"},"model":"b"}', "c", 20)
@example(b'{"x":{"model":"a"},"model":"b"}', "c", 4)
@example(b'{"x":{"model":"a"},"model":"b"}', "c", 0)
def test_a_large_body_is_rewritten_as_a_small_one_is(body: bytes, model: str, marks: int) -> None:
    """Searched by its quotation marks, however many of them are looked at, it becomes the same."""
    small = with_model(body, model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splice, "LARGE", 1)
        patch.setattr(splice, "MARKS", marks)
        assert with_model(body, model) == small


def test_every_repetition_of_the_model_is_replaced() -> None:
    """JSON lets the last one win; a server that lets the first one win must not get another model."""
    body = b'{"model":"a","messages":[{"model":"a"}],"model":"b"}'
    assert (
        rewrite(body, orjson.loads(body), model="z", usage=False)
        == b'{"model":"z","messages":[{"model":"a"}],"model":"z"}'
    )


def test_what_needs_no_change_is_not_touched() -> None:
    """The same object goes upstream."""
    body = b'{"model":"a"}'
    assert rewrite(body, {"model": "a"}, model="a", usage=False) is body


def fed(data: bytes, cuts: list[int], **options: Any) -> tuple[ChatWatcher, bytes]:
    """A watcher after a stream that arrived in pieces, and what it let through."""
    watcher = ChatWatcher(**{"hide_usage": True, **options})
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return watcher, b"".join(watcher.feed(data[a:b]) for a, b in itertools.pairwise(edges))


WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), min_size=1, max_size=6)
NOISE = st.sampled_from([b": ping\n\n", b"event: x\nid: 1\n\n", b"retry: 5\n\n", b""])


@given(
    WORDS,
    st.lists(NOISE, max_size=6),
    st.lists(st.integers(0, 4000), max_size=12),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_the_stream_comes_out_as_it_went_in_however_it_was_cut(
    words: list[str], noise: list[bytes], cuts: list[int], newline: bytes
) -> None:
    """Byte for byte, without the usage nobody asked for and without the terminator; in LF, CRLF and CR; even when read byte by byte."""
    visible = [ROLE, *noise, *(event({"content": word}) for word in words), STOP]
    shown = b"".join(visible).replace(b"\n", newline)
    data = shown + (BILL + DONE).replace(b"\n", newline)
    for pieces in (cuts, list(range(len(data)))):
        watcher, out = fed(data, pieces)
        # Half of a CRLF may travel with the next event: white space between events means nothing.
        assert out.replace(b"\r", b"").replace(b"\n", b"") == shown.replace(b"\r", b"").replace(b"\n", b"")
        assert newline != b"\n" or out == shown
        assert watcher.complete
        assert watcher.over
        assert watcher.usage is not None
        assert watcher.usage.input_tokens == USAGE["prompt_tokens"]
        assert watcher.reasons == ("stop",)
        assert watcher.terminator.strip() == b"data: [DONE]"


@given(st.lists(st.integers(0, 4000), max_size=12), st.integers(0, len(ROLE + HELLO + WORLD)))
def test_a_prefix_is_never_complete(cuts: list[int], length: int) -> None:
    """Wherever a stream ends before its finish, it does not count as whole."""
    watcher, out = fed((ROLE + HELLO + WORLD)[:length], cuts)
    assert not watcher.complete
    assert (ROLE + HELLO + WORLD).startswith(out)


def test_nothing_is_let_through_before_content() -> None:
    """A role, a comment and an empty delta are no content; they go out with the first word."""
    watcher = ChatWatcher(hide_usage=True)
    head = ROLE + b": ping\n\n" + event({"content": ""})
    assert watcher.feed(head) == b""
    assert not watcher.started
    assert watcher.feed(HELLO) == head + HELLO
    assert watcher.started


def test_a_long_head_is_let_go() -> None:
    """What says nothing for 16 KiB is let through in order, and what follows comes after it."""
    watcher = ChatWatcher(hide_usage=True)
    ping = b": " + b"x" * 1000 + b"\n\n"
    out = b"".join(watcher.feed(ping) for _ in range(MAX_HEAD // len(ping) + 2))
    out += watcher.feed(HELLO)
    assert out == ping * (MAX_HEAD // len(ping) + 2) + HELLO


@pytest.mark.parametrize("name", ["content", "tool_calls", "reasoning_content", "refusal"])
def test_each_kind_of_content_counts(name: str) -> None:
    """Words, calls, thoughts and refusals are all something the client may act on."""
    watcher = ChatWatcher(hide_usage=True)
    assert watcher.feed(event({name: [{"index": 0}] if name == "tool_calls" else "x"}))
    assert watcher.started


def test_text_about_errors_is_no_error() -> None:
    """`event: error` and `data: [DONE]` inside an answer are words like any others."""
    watcher, out = fed(ROLE + event({"content": 'event: error\ndata: [DONE] "error": {"usage": {'}) + STOP + DONE, [])
    assert watcher.error is None
    assert watcher.complete
    assert b"[DONE]" in out


def test_a_megabyte_is_one_event() -> None:
    """Large events pass in pieces of any size; beyond the limit a stream is no stream."""
    big = event({"content": "x" * 2**20})
    watcher, out = fed(ROLE + big, list(range(0, 2**20, 65536)))
    assert out == ROLE + big
    watcher = ChatWatcher(hide_usage=True)
    piece = b"x" * 2**22
    for _ in range(MAX_EVENT // len(piece) + 1):
        watcher.feed(piece)
    assert watcher.problem


def test_a_byte_order_mark_is_no_problem() -> None:
    """The first event is read through it."""
    watcher, out = fed(b"\xef\xbb\xbf" + HELLO + STOP, [])
    assert out == b"\xef\xbb\xbf" + HELLO + STOP
    assert watcher.complete


def test_data_over_several_lines_is_one_payload() -> None:
    """Lines of one event are joined by newlines, which JSON takes as white space."""
    watcher, _ = fed(b'data: {"choices":[{"index":0,\ndata:"delta":{"content":"x"},"finish_reason":"length"}]}\n\n', [])
    assert watcher.reasons == ("length",)


@pytest.mark.parametrize(
    "usage",
    ["none", 7, [], {"prompt_tokens": -1}, {"prompt_tokens": "7"}, {"prompt_tokens": True}, {"prompt_tokens": 1.5}],
)
def test_hostile_usage_is_not_believed(usage: Any) -> None:
    """What is no whole number was not reported."""
    watcher, _ = fed(HELLO + STOP + event(None, usage=usage) + DONE, [])
    assert watcher.usage is None or watcher.usage.input_tokens is None
