"""Streams of the Responses protocol: what is written keeps the grammar and is what the official SDK reads; what is read is the answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from fw_gateway.providers import form
from fw_gateway.providers.dialects import responses
from fw_gateway.providers.gather import gathered, told
from fw_gateway.values import Usage
from tests.dialects import responses_bodies as bodies
from tests.dialects.responses_grammar import Automaton, events_of

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ASKED = responses.read_request(
    {
        "model": "m",
        "instructions": "be kind",
        "input": "hi",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"},
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "store": True,
    }
)

words = st.text(min_size=1, max_size=8)
text_part = st.builds(form.Text, words)
said = st.one_of(
    text_part,
    st.builds(form.Refusal, words),
    st.builds(form.Reasoning, text=words, signature=st.one_of(st.just(""), words), summary=st.booleans()),
    st.builds(form.Reasoning, sealed=words),
)
reasons = st.sampled_from(
    ["stop", "length", "tool_calls", "content_filter", "refusal", "pause", "context", "stop_sequence", ""]
)
counts = st.one_of(st.none(), st.integers(0, 99))


@st.composite
def answers(draw: st.DrawFn) -> form.Answer:
    """Answers that another protocol gave."""
    parts: list[form.Part] = list(draw(st.lists(said, max_size=4)))
    for number in range(draw(st.integers(0, 2))):
        call = form.ToolCall(f"call_{number}", "f", draw(st.sampled_from(["{}", '{"a": 1}', ""])))
        parts.insert(draw(st.integers(0, len(parts))), call)
    usage = draw(st.one_of(st.none(), st.builds(Usage, counts, counts, counts, counts, counts)))
    maker = draw(st.sampled_from(["openai_chat", "anthropic_messages"]))
    return form.Answer(maker, "chatcmpl-1", "m", (form.Choice(tuple(parts), draw(reasons)),), usage, 7)


def written(events: Sequence[form.Event], **options: Any) -> list[dict[str, Any]]:
    """The events that a writer makes of these."""
    writer = responses.Writer(ASKED, **{"seed": "1", "created": 5, **options})
    return events_of(b"".join([*map(writer.write, events), writer.end()]))


def bare(value: Any) -> Any:
    """A thing of the form without what is only spelt, or only its own dialect's."""
    if isinstance(value, form.Rest):
        return form.Rest(bare(value.members))
    if isinstance(value, dict):
        kept = {
            name: bare(each) for name, each in value.items() if each is not None and not isinstance(each, form.Spelt)
        }
        return {name: each for name, each in kept.items() if each != form.Rest({})}
    if isinstance(value, tuple):
        return tuple(bare(each) for each in value)
    if hasattr(value, "extra"):
        return replace(value, extra=bare(dict(value.extra)))
    return value


@given(answers())
@settings(max_examples=100, deadline=None)
def test_a_stream_ends_with_the_whole_answer(answer: form.Answer) -> None:
    """The last event holds what the same answer would be without a stream, and the events before it tell the same."""
    events = written(list(told(answer)), source=answer.dialect)
    automaton = Automaton()
    automaton.run(events)
    whole = responses.write_answer(answer, form.Losses(), asked=ASKED, seed="1", created=5)
    assert events[-1]["response"] == whole
    assert automaton.output == whole["output"]


@given(answers())
@settings(max_examples=100, deadline=None)
def test_the_official_sdk_reads_every_event(answer: form.Answer) -> None:
    """Each event is valid to its types, and its own accumulation comes to the same response."""
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    seen: list[Any] = []
    for event in written(list(told(answer)), source=answer.dialect):
        found = EVENT.validate_python(event)
        assert found.type == event["type"]
        seen = state.handle_event(found)
    response = seen[-1].response
    assert response.output_text == "".join(part.text for part in answer.choices[0].parts if isinstance(part, form.Text))
    calls = [item.call_id for item in response.output if item.type == "function_call"]
    assert calls == [part.id for part in answer.choices[0].parts if isinstance(part, form.ToolCall)]


@given(bodies.answers)
@settings(max_examples=100, deadline=None)
def test_an_own_answer_comes_back_through_a_stream(body: dict[str, Any]) -> None:
    """Written event by event and read again, it says what it said, ids included."""
    answer = responses.read_answer(body)
    events = written(list(told(answer)), source=responses.name)
    Automaton().run(events)
    reader = responses.Reader()
    read = [each for event in events for each in reader.feed(event["type"], orjson.dumps(event).decode())]
    assert reader.complete
    found = gathered(read, responses.name)
    assert bare(found.choices[0].parts) == bare(answer.choices[0].parts)
    assert found.id == answer.id
    if answer.choices[0].raw != "cancelled":
        assert (found.choices[0].reason, found.choices[0].raw) == (answer.choices[0].reason, answer.choices[0].raw)


Unclosed = st.sampled_from([0, 1, 2, 3])
EVENTS = st.lists(
    st.one_of(
        st.builds(form.Begin, st.just("resp_2"), st.just("m")),
        st.builds(form.Open, Unclosed, said),
        st.builds(form.Open, Unclosed, st.integers(0, 10**6).map(lambda n: form.ToolCall(f"call_{n}", "f", ""))),
        st.builds(
            form.Open, Unclosed, st.builds(form.Reasoning, id=st.sampled_from(["", "rs_a"]), summary=st.booleans())
        ),
        st.builds(form.Open, Unclosed, st.just(form.Image(url="https://a.example/"))),
        st.builds(form.Open, Unclosed, st.just(form.Opaque(responses.name, {"type": "web_search_call", "id": "ws_1"}))),
        st.builds(form.More, Unclosed, st.text(max_size=3), st.text(max_size=1), choice=st.sampled_from([0, 0, 0, 1])),
        st.builds(form.Close, Unclosed),
        st.builds(form.Counted, st.builds(Usage, counts, counts)),
        st.builds(form.Finish, reasons),
        st.builds(form.Erred, words),
    ),
    max_size=20,
)


@given(EVENTS, st.sampled_from(["openai_chat", "openai_responses", ""]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_whatever_comes_keeps_the_grammar(events: list[form.Event], maker: str, ends: bool) -> None:
    """In any order, with parts that interleave, never close, or close twice: one beginning and one end of everything."""
    writer = responses.Writer(ASKED, seed="1", created=5, source=maker)
    raw = [writer.write(event) for event in events]
    raw.append(writer.end() if ends else writer.fail("it broke", "server_error", "server_error"))
    raw.append(writer.end())
    Automaton().run(events_of(b"".join(raw)))


def read(*events: dict[str, Any]) -> tuple[responses.Reader, list[form.Event]]:
    """A reader behind these events, and what it said."""
    reader = responses.Reader()
    return reader, [each for event in events for each in reader.feed("", orjson.dumps(event).decode())]


MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
TEXT = {"type": "output_text", "text": "hello", "annotations": []}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}
DONE = {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}}


@pytest.mark.parametrize(
    "events",
    [
        [
            {
                "type": "response.completed",
                "response": {"status": "completed", "output": [{**MESSAGE, "content": [TEXT]}, CALL]},
            }
        ],
        [
            {"type": "response.output_item.done", "output_index": 0, "item": {**MESSAGE, "content": [TEXT]}},
            {"type": "response.output_item.done", "output_index": 1, "item": CALL},
            DONE,
        ],
        [
            {"type": "response.output_item.added", "output_index": 0, "item": {**MESSAGE, "content": []}},
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "hel"},
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 1, "delta": "l"},
            {"type": "response.output_text.done", "output_index": 0, "content_index": 2, "text": "hello"},
            {"type": "response.output_item.added", "output_index": 1, "item": {**CALL, "arguments": ""}},
            {"type": "response.function_call_arguments.done", "output_index": 1, "arguments": "{}"},
            {"type": "response.something.new", "output_index": 1},
            DONE,
        ],
    ],
    ids=["all at the end", "whole items", "parts that never begin"],
)
def test_what_a_server_leaves_out_is_made_up_for(events: list[dict[str, Any]]) -> None:
    """The answer is the same, however little of the grammar is kept."""
    reader, said = read(*events)
    assert reader.complete
    choice = gathered(said, responses.name).choices[0]
    assert [getattr(part, "text", "") or getattr(part, "arguments", "") for part in choice.parts] == ["hello", "{}"]
    assert choice.reason == "tool_calls"
    opened = sum(isinstance(event, form.Open) for event in said)
    assert opened == sum(isinstance(event, form.Close) for event in said) == 2


@pytest.mark.parametrize(
    "event",
    [
        {
            "type": "response.failed",
            "response": {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow down"}},
        },
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None, "sequence_number": 3},
        {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow down", "type": "requests"}},
        {"error": {"code": "rate_limit_exceeded", "message": "slow down"}},
    ],
)
def test_an_error_in_band_is_told_and_the_stream_is_not_whole(event: dict[str, Any]) -> None:
    """In any of its shapes, with its own code."""
    reader, said = read(event)
    assert not reader.complete
    assert [(each.message, each.code) for each in said if isinstance(each, form.Erred)] == [
        ("slow down", "rate_limit_exceeded")
    ]


def test_a_stream_that_breaks_does_not_say_that_a_call_was_whole() -> None:
    """Its arguments never end, it is not in the response, and the code of the failure is kept."""
    begun = [form.Begin(), form.Open(0, form.Text("a")), form.Close(0), form.Open(1, form.ToolCall("c", "f", '{"a'))]
    writer = responses.Writer(ASKED, seed="1", source="openai_chat")
    raw = b"".join(
        [*map(writer.write, begun), writer.fail("too long", "invalid_request_error", "context_length_exceeded")]
    )
    events = events_of(raw + writer.end())
    Automaton().run(events)
    assert "response.function_call_arguments.done" not in {event["type"] for event in events}
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["message"]
    assert events[-1]["response"]["error"] == {
        "code": "context_length_exceeded",
        "message": "too long",
        "type": "invalid_request_error",
    }


def test_an_end_without_a_reason_is_a_failure() -> None:
    """A truncated stream is never a success."""
    events = written([form.Begin(), form.Open(0, form.Text("a")), form.Close(0)])
    assert events[-1]["type"] == "response.failed"


def test_calls_that_come_side_by_side_keep_their_own_arguments() -> None:
    """Deltas of one item between those of another."""
    calls = [form.Open(n, form.ToolCall(f"c{n}", "f", "")) for n in range(2)]
    deltas = [form.More(0, '{"a"'), form.More(1, "{"), form.More(0, ":1}"), form.More(1, "}")]
    events = written([form.Begin(), *calls, *deltas, form.Finish("tool_calls"), form.Counted(Usage(1, 2))])
    automaton = Automaton()
    automaton.run(events)
    assert [item["arguments"] for item in automaton.output] == ['{"a":1}', "{}"]
    assert events[-1]["response"]["usage"]["total_tokens"] == 3
