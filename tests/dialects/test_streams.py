"""Chat and Messages as streams: however they are cut, they tell the same answer as the whole; and what is written keeps to its grammar."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from fw_gateway.providers import form
from fw_gateway.providers.dialects import chat, messages
from fw_gateway.providers.gather import gathered, joined, told
from fw_gateway.providers.sse import Frames
from fw_gateway.providers.wire import object_of
from fw_gateway.values import Usage
from tests.dialects import chat_bodies, meaning, messages_bodies

ASKED = chat.read_request(
    {
        "model": "m",
        "messages": [{"role": "user", "content": "?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
)
DIALECTS: dict[str, Any] = {chat.name: chat, messages.name: messages}
CANONICAL = {chat.name: meaning.chat_answer, messages.name: meaning.messages_answer}


def bare(answer: form.Answer) -> form.Answer:
    """An answer without what a stream has no place for: members that only its own protocol knows, arguments that are no JSON object, no reason."""

    def part(found: form.Part) -> form.Part:
        if isinstance(found, form.ToolCall) and object_of(found.arguments) is None:
            found = replace(found, arguments="{}")
        return found if isinstance(found, form.Opaque) else replace(found, extra={})

    def parts(choice: form.Choice) -> tuple[form.Part, ...]:
        return tuple(part(p) for p in choice.parts if not (isinstance(p, form.Opaque) and p.dialect == chat.name))

    choices = tuple(
        replace(
            choice,
            parts=parts(choice),
            extra={},
            reason=choice.reason if choice.raw else "stop",
            raw=choice.raw or "stop",
        )
        for choice in answer.choices
    )
    return replace(answer, choices=choices, extra={})


def pieces(events: Iterator[form.Event], size: int) -> Iterator[form.Event]:
    """The same events with words of at most `size` characters at a time."""
    for event in events:
        if isinstance(event, form.More) and event.text:
            yield replace(event, text=event.text[:size])
            rest = replace(event, extra={})
            yield from (replace(rest, text=event.text[i : i + size]) for i in range(size, len(event.text), size))
        else:
            yield event


def streamed(writer: Any, events: Iterator[form.Event]) -> bytes:
    """All that a writer writes."""
    return b"".join([*map(writer.write, events), writer.end()])


def heard(reader: Any, data: bytes, size: int) -> list[form.Event]:
    """What a reader hears of bytes that come `size` at a time."""
    frames = Frames()
    found = [frames.feed(data[i : i + size]) for i in range(0, len(data), size)] + [frames.end()]
    return [event for each in found for name, payload in each for event in reader.feed(name, payload)]


def _choices(answer: form.Answer, to: str) -> form.Answer:
    return answer if to == chat.name else replace(answer, choices=answer.choices[:1])


@pytest.mark.parametrize("to", [chat.name, messages.name])
@given(
    st.one_of(chat_bodies.answers.map(chat.read_answer), messages_bodies.answers.map(messages.read_answer)), st.data()
)
@settings(max_examples=100, deadline=None)
def test_a_stream_tells_the_same_answer_as_the_whole(to: str, answer: form.Answer, data: st.DataObject) -> None:
    """Whole or told, in any pieces, cut at any bytes, an answer of either protocol comes out of either's wire alike."""
    codec, answer = DIALECTS[to], _choices(bare(answer), to)
    whole = codec.write_answer(bare(codec.read_answer(codec.write_answer(answer, form.Losses()))), form.Losses())
    writer = codec.Writer(ASKED, source=answer.dialect)
    written = streamed(writer, pieces(told(answer), data.draw(st.integers(1, 5))))
    reader = codec.Reader(choices=len(answer.choices)) if to == chat.name else codec.Reader()
    events = heard(reader, written, data.draw(st.sampled_from([1, 2, 7, 100_000])))
    found = codec.write_answer(gathered(events, to), form.Losses())
    assert reader.complete
    assert meaning.differences(CANONICAL[to](whole), CANONICAL[to](found), []) == []


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
index = st.integers(0, 3)
part = st.one_of(
    st.builds(form.Text, words),
    st.builds(form.Refusal, words),
    st.builds(form.Reasoning, words, sealed=st.sampled_from(["", "s"]), maker=st.sampled_from(["", chat.name])),
    st.builds(form.ToolCall, words, words, words),
    st.just(form.Opaque(messages.name, {"type": "server_tool_use", "id": "s", "name": "n", "input": {}})),
    st.just(form.Opaque("other", 1)),
    st.just(form.Image(url="u")),
)
choice = st.sampled_from([0, 0, 0, 1])
usage = st.builds(Usage, st.none() | index, st.none() | index, st.none() | index)
event = st.one_of(
    st.builds(form.Begin, words, words, st.none() | index, st.none() | usage),
    st.builds(form.Open, index, part, choice),
    st.builds(form.Open, index, part, choice),
    st.builds(form.More, index, words, st.sampled_from(["", "x"]), choice),
    st.builds(form.More, index, words, choice=choice, extra=st.just({"citations": [{"type": "char_location"}]})),
    st.builds(form.Close, index, choice, st.sampled_from([{}, {"maker": chat.name, "id": "i"}])),
    st.builds(form.Counted, usage),
)
ending = st.one_of(
    st.builds(
        form.Finish, st.sampled_from(["stop", "length", "tool_calls", "pause", ""]), st.just("stop"), choice=choice
    ),
    st.builds(form.Erred, words, words, words),
)
hostile = st.lists(st.one_of(event, event, event, event, event, ending), max_size=25)
sources = st.sampled_from([chat.name, messages.name, "openai_responses"])
DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "redacted_thinking": set[str](),
    "server_tool_use": set[str](),
}


def misspoken(found: list[dict[str, Any]]) -> str:
    """Why a sequence of events of Messages is none that the protocol knows; empty when it is one."""
    open_, number, stage = "", 0, "before"
    for event in found:
        match stage, event["type"]:
            case ("before", "message_start"):
                stage = "message"
            case ("message", "content_block_start") if not open_ and event["index"] == number:
                open_ = event["content_block"]["type"]
            case ("message", "content_block_delta") if (
                event["index"] == number and event["delta"]["type"] in DELTAS[open_]
            ):
                pass
            case ("message", "content_block_stop") if open_ and event["index"] == number:
                open_, number = "", number + 1
            case ("message", "message_delta") if not open_:
                stage = "finished"
            case ("finished", "message_stop"):
                stage = "over"
            case ("before" | "message", "error"):
                stage = "over"
            case _:
                return f"{event} while {stage} and {open_ or 'no block'} {number} is open"
    return "" if stage == "over" else f"ends while {stage}"


@given(hostile, sources)
@settings(max_examples=300, deadline=None)
def test_whatever_comes_messages_are_told_in_their_grammar(events: list[form.Event], source: str) -> None:
    """One message, one block after the other, each kind of delta in its kind of block, one end; the name of an event is its type."""
    frames = Frames().feed(streamed(messages.Writer(None, source=source), iter(events)))
    assert misspoken([orjson.loads(data) for _, data in frames]) == ""
    assert all(orjson.loads(data)["type"] == name for name, data in frames)


@given(hostile, sources)
@settings(max_examples=300, deadline=None)
def test_whatever_comes_chat_is_told_in_its_grammar(events: list[form.Event], source: str) -> None:
    """A choice begins with its role and ends with its reason; usage comes last; then `[DONE]`, or an error and nothing."""
    frames = [data for _, data in Frames().feed(streamed(chat.Writer(ASKED, source=source), iter(events)))]
    last = frames.pop()
    assert last == "[DONE]" or "error" in orjson.loads(last)
    finished: dict[int, bool] = {}
    for data in frames:
        chunk = ChatCompletionChunk.model_validate_json(data)
        assert finished.keys() or not chunk.choices or chunk.choices[0].delta.role == "assistant"
        for one in chunk.choices:
            assert not finished.get(one.index)
            assert (one.delta.role == "assistant") == (one.index not in finished)
            finished[one.index] = bool(one.finish_reason)


@given(st.lists(st.tuples(words, st.lists(words, min_size=1)), min_size=1, max_size=4), st.randoms())
@settings(max_examples=100, deadline=None)
def test_calls_that_are_told_side_by_side_are_all_whole(calls: list[tuple[str, list[str]]], random: Any) -> None:
    """Deltas of several calls in any order come out as blocks in the order in which the calls began."""
    opened = [form.Open(i, form.ToolCall(f"id{i}", f"{name}!", "")) for i, (name, _) in enumerate(calls)]
    deltas = [[form.More(i, piece) for piece in pieces] for i, (_, pieces) in enumerate(calls)]
    events: list[form.Event] = [form.Begin("i", "m"), *opened]
    while any(deltas):
        events.append(random.choice([each for each in deltas if each]).pop(0))
    closed = [form.Close(i) for i in range(len(calls))]
    random.shuffle(closed)
    events += [*closed, form.Finish("tool_calls", "tool_calls")]
    for codec in (chat, messages):
        written = streamed(codec.Writer(ASKED, source=chat.name), iter(events))
        found = gathered(heard(codec.Reader(), written, 64), codec.name).choices[0].parts
        given_ = [("".join(pieces) or ("{}" if codec is messages else "")) for _, pieces in calls]
        assert [part.arguments for part in found if isinstance(part, form.ToolCall)] == given_
        assert [part.id for part in found if isinstance(part, form.ToolCall)] == [f"id{i}" for i in range(len(calls))]


def test_usage_that_comes_late_replaces_what_it_states_and_keeps_the_rest() -> None:
    """As providers report the input at the beginning and the output at the end."""
    assert joined(Usage(5, 1, 2), Usage(None, 9)) == Usage(5, 9, 2)
    assert joined(None, Usage(1)) == Usage(1)
