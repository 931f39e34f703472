"""Streams: bytes to events, events to an answer, and every way an answer may fail to end."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwsdk import AsyncClient, BudgetExceeded, Client, ConnectionFailed, StreamInterrupted
from fwsdk._sse import Event, Framer
from fwsdk.testing import FakeTransport, Played, error, event, stream

TEXT = (
    "\ufeffdata: one\r\n\r\n: a comment\ndata: two\rdata: lines\r\revent: error\ndata:x\n\n"
    "id: 7\nretry: 1\n\ndata: ünïcode €\n\ndata\n\ndata: unfinished\n"
).encode()
EVENTS = [
    Event(data="one"),
    Event(comment="a comment"),
    Event(data="two\nlines"),
    Event(data="x", name="error"),
    Event(data="ünïcode €"),
    Event(data=""),
]


def framed(chunks: list[bytes]) -> list[Event]:
    framer = Framer()
    return [found for chunk in chunks for found in framer.feed(chunk)]


@pytest.mark.parametrize("cut", range(len(TEXT) + 1))
def test_events_do_not_depend_on_where_the_bytes_are_cut(cut: int) -> None:
    """Every split in two, CR LF and characters of several bytes included."""
    assert framed([TEXT[:cut], TEXT[cut:]]) == EVENTS


@given(st.lists(st.integers(0, len(TEXT)), max_size=12))
def test_nor_on_how_often_they_are_cut(cuts: list[int]) -> None:
    """Any number of splits."""
    edges = [0, *sorted(cuts), len(TEXT)]
    assert framed([TEXT[a:b] for a, b in itertools.pairwise(edges)]) == EVENTS
    assert framed([TEXT[i : i + 1] for i in range(len(TEXT))]) == EVENTS


def test_tool_calls_are_put_together_from_their_pieces() -> None:
    """Arguments arrive in fragments, by index; other text fields are kept."""
    parts = [
        {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "g", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}], "reasoning_content": "hm"},
    ]
    with Client(transport=FakeTransport(stream(*parts, finish_reason="tool_calls"))) as fw:
        found = fw.stream("hi")
        assert list(found) == []
    assert [(call.id, call.name, call.arguments) for call in found.reply.tool_calls] == [
        ("c1", "f", {"a": 1}),
        ("c2", "g", {}),
    ]
    assert found.reply.message.model_extra == {"reasoning_content": "hm"}
    assert found.reply.usage is not None
    assert found.reply.usage.total_tokens == 7


@pytest.mark.parametrize(
    "broken",
    [
        stream("a", "b", finish_reason=None),
        Played((*stream("a", "b", finish_reason=None).chunks, event(b"[DONE]"))),
        stream("a", "b", finish_reason=None, fault=ConnectionFailed("reset")),
        Played((*stream("a", "b", finish_reason=None).chunks, event({"error": {"message": "upstream died"}}))),
        Played((*stream("a", "b", finish_reason=None).chunks, event(b"{not json"))),
        Played((*stream("a", "b", finish_reason=None).chunks, event(b"[1]"))),
        Played((*stream("a", "b", finish_reason=None).chunks, event({"choices": [7]}))),
    ],
    ids=["end", "done", "reset", "in-band", "json", "list", "shape"],
)
def test_a_stream_that_breaks_off_is_never_a_success(broken: Played) -> None:
    """What had arrived is in the error; nothing is sent again; there is no reply."""
    transport = FakeTransport(broken)
    found: list[str] = []
    with Client(transport=transport) as fw:
        answer = fw.stream("hi")
        with pytest.raises(StreamInterrupted) as raised:
            found.extend(answer)
        assert raised.value.text == "ab"
        with pytest.raises(RuntimeError, match="not over"):
            _ = answer.reply
        assert list(answer) == []
    assert len(transport.requests) == 1


def test_a_refusal_before_the_stream_is_an_error_of_its_own() -> None:
    """The status decides, not the body's type."""
    with (
        Client(transport=FakeTransport(error(402, "empty", code="budget_exceeded"))) as fw,
        pytest.raises(BudgetExceeded, match="empty"),
    ):
        next(fw.stream("hi"))


async def test_leaving_a_stream_cancels_the_exchange() -> None:
    """Closed after one piece, by either client; read to its end, nothing is cancelled."""
    transport = FakeTransport(stream("a", "b"), stream("a", "b"), stream("a"))
    async with AsyncClient(transport=transport) as fw:
        async with fw.stream("hi") as answer:
            assert await anext(answer) == "a"
        assert transport.cancelled == 1
        assert answer.text == "a"
    with Client(transport=transport) as blocking:
        with blocking.stream("hi") as pieces:
            assert next(pieces) == "a"
        assert transport.cancelled == 2
        list(blocking.stream("hi"))
    assert transport.cancelled == 2


def test_a_stream_that_is_never_read_sends_nothing() -> None:
    """Making one costs nothing."""
    transport = FakeTransport()
    with Client(transport=transport) as fw, fw.stream("hi"):
        pass
    assert transport.requests == []


def test_the_step_of_a_stream_is_the_one_it_was_made_in() -> None:
    """Even when it is read after the step."""
    transport = FakeTransport(stream("a"))
    with Client(transport=transport) as fw, fw.run("coding") as run:
        with run.step("edit"):
            answer = fw.stream("hi", temperature=1)
        list(answer)
    assert transport.requests[0].headers["x-fw-step"] == "edit"
    assert json.loads(transport.requests[0].request.body or b"")["stream_options"] == {"include_usage": True}
