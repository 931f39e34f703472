"""Streams of the Responses protocol: what is written keeps the grammar and is what the official SDK reads; what is read is the answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
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
@settings(max_examples=300, deadline=None)
def test_a_stream_ends_with_the_whole_answer(answer: form.Answer) -> None:
    """The last event holds what the same answer would be without a stream, and the events before it tell the same."""
    events = written(list(told(answer)), source=answer.dialect)
    automaton = Automaton()
    automaton.run(events)
    whole = responses.write_answer(answer, form.Losses(), asked=ASKED, seed="1", created=5)
    assert events[-1]["response"] == whole
    assert automaton.output == whole["output"]


@given(answers())
@settings(max_examples=150, deadline=None)
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
@settings(max_examples=150, deadline=None)
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
@settings(max_examples=300, deadline=None)
def test_whatever_comes_keeps_the_grammar(events: list[form.Event], maker: str, ends: bool) -> None:
    """In any order, with parts that interleave, never close, or close twice: one beginning and one end of everything."""
    writer = responses.Writer(ASKED, seed="1", created=5, source=maker)
    raw = [writer.write(event) for event in events]
    raw.append(writer.end() if ends else writer.fail("it broke", "server_error", "server_error"))
    raw.append(writer.end())
    Automaton().run(events_of(b"".join(raw)))
