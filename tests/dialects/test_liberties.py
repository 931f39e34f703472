"""The liberties that servers take with chat and Messages: what is meant is read all the same, and nothing but Unreadable is ever raised."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fw_gateway.providers import form
from fw_gateway.providers.dialects import chat, messages
from fw_gateway.providers.gather import gathered
from fw_gateway.providers.sse import MAX_EVENT, Frames
from fw_gateway.values import Usage
from tests.dialects import chat_bodies, messages_bodies


def hear(reader: Any, *payloads: Any, name: str = "") -> list[form.Event]:
    """What a reader hears of these payloads."""
    return [event for payload in payloads for event in reader.feed(name, json.dumps(payload))]


def delta(finish: str | None = None, index: int = 0, **members: Any) -> dict[str, Any]:
    """A chunk with one choice."""
    return {"id": "c", "model": "m", "choices": [{"index": index, "delta": members, "finish_reason": finish}]}


def call(
    arguments: str = "", *, index: int | None = 0, id_: str | None = None, name: str | None = None
) -> dict[str, Any]:
    """A delta of a call; what is None is not said."""
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not None}
    said = {k: v for k, v in (("index", index), ("id", id_)) if v is not None}
    return delta(tool_calls=[{**said, "function": function}])


def calls(*payloads: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of the calls that chunks tell."""
    found = gathered(hear(chat.Reader(), *payloads, delta("tool_calls")), chat.name).choices[0].parts
    return [(part.id, part.name, part.arguments) for part in found if isinstance(part, form.ToolCall)]


def test_calls_with_the_same_index_are_told_apart_by_their_ids() -> None:
    """Some servers give every call the index 0, or none at all."""
    for index in (0, None):
        found = calls(
            call('{"a":', index=index, id_="x", name="f"),
            call("1}", index=index),
            call("{}", index=index, id_="y", name="f"),
        )
        assert found == [("x", "f", '{"a":1}'), ("y", "f", "{}")]


def test_calls_without_ids_are_told_apart_by_their_names_and_get_ids() -> None:
    """A call that names another function, or the same one again once the arguments are whole, is another call."""
    found = calls(call("{}", name="f"), call("{}", name="g"), call('{"a":', name="g"), call("1}", name="g"))
    assert found == [("call_c_0_0", "f", "{}"), ("call_c_0_1", "g", "{}"), ("call_c_0_2", "g", '{"a":1}')]


def test_an_id_that_comes_late_or_every_time_is_one_call() -> None:
    """The call begins once its id is known; nothing that came before is lost."""
    assert calls(call('{"a"', name="f"), call(":1", id_="x"), call("}")) == [("x", "f", '{"a":1}')]
    assert calls(call("{", id_="x", name="f"), call("}", id_="x", name="f")) == [("x", "f", "{}")]
    assert calls(call("{", id_="x", name="f"), call("}", id_="other")) == [("x", "f", "{}")]


def test_deltas_of_calls_may_come_in_turns_with_gaps_between_their_indices() -> None:
    """Each goes to the call that its index means."""
    found = calls(
        call("[", index=3, id_="x", name="f"),
        call("{", index=7, id_="y", name="g"),
        call("]", index=3),
        call("}", index=7),
    )
    assert found == [("x", "f", "[]"), ("y", "g", "{}")]


def test_a_function_call_of_old_is_a_call() -> None:
    """Its id is made up."""
    found = calls(delta(function_call={"name": "f", "arguments": "{"}), delta(function_call={"arguments": "}"}))
    assert found == [("call_c_0_0", "f", "{}")]


@pytest.mark.parametrize(
    "chunks",
    [
        [delta("stop") | {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}],
        [delta("stop"), {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}],
        [
            delta(content="x") | {"usage": {"prompt_tokens": 3, "completion_tokens": 1}},
            delta("stop") | {"usage": {"completion_tokens": 4}},
        ],
        [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, delta("stop") | {"usage": None}],
    ],
)
def test_usage_may_stand_anywhere(chunks: list[dict[str, Any]]) -> None:
    """The last word counts."""
    assert gathered(hear(chat.Reader(), *chunks), chat.name).usage == Usage(3, 4)


def test_roles_that_are_late_or_missing_and_empty_deltas_say_nothing() -> None:
    """Words are words."""
    chunks = [
        delta(),
        delta(content=""),
        delta(content="a", role="assistant"),
        {"choices": []},
        {"id": "c", "x": 1},
        delta(content=None),
    ]
    found = gathered(hear(chat.Reader(), *chunks, delta("stop", content="b"), delta(content="late")), chat.name)
    assert found.choices[0].parts == (form.Text("ab"),)


def test_each_of_several_choices_must_finish() -> None:
    """A stream of two answers is whole when both are."""
    reader = chat.Reader(choices=2)
    hear(reader, delta("stop", 1, content="b"))
    assert not reader.complete
    hear(reader, delta("length", 0, content="a"))
    assert reader.complete


def test_thoughts_come_as_text_as_blocks_or_as_both() -> None:
    """The seal of thoughts comes with all of them, with none, or with each piece."""
    signed = form.Reasoning("ab", "s", maker=messages.name)
    seal = {"type": "thinking", "signature": "s"}
    pieces = [
        delta(reasoning_content=t, thinking_blocks=[{"type": "thinking", "thinking": t, "signature": ""}]) for t in "ab"
    ]
    for chunks in (
        [delta(reasoning_content="a"), delta(reasoning="b"), delta(thinking_blocks=[{**seal, "thinking": "ab"}])],
        [delta(reasoning_content="ab"), delta(thinking_blocks=[{**seal, "thinking": ""}])],
        [*pieces, delta(thinking_blocks=[{**seal, "thinking": ""}])],
    ):
        found = gathered(hear(chat.Reader(), *chunks, delta("stop", content="x")), chat.name)
        assert found.choices[0].parts == (signed, form.Text("x"))


def test_an_error_in_band_is_told_whatever_its_shape() -> None:
    """As an object, as a text, as the whole of an `error` event."""
    found = form.Erred("no", "api_error", "")
    assert hear(chat.Reader(), {"error": {"message": "no", "type": "api_error", "code": None}}) == [found]
    assert hear(chat.Reader(), {"error": "no"}) == [found]
    assert hear(chat.Reader(), {"message": "no"}, name="error") == [found]
    assert hear(messages.Reader(), {"type": "error", "error": {"type": "api_error", "message": "no"}}) == [found]


def block(index: int, kind: str, *deltas: dict[str, Any], **members: Any) -> list[dict[str, Any]]:
    """The events of one block that does not stop."""
    start = {"type": "content_block_start", "index": index, "content_block": {"type": kind, **members}}
    return [start, *({"type": "content_block_delta", "index": index, "delta": each} for each in deltas)]


def test_a_message_may_start_twice_ping_skip_indices_and_forget_to_stop_blocks() -> None:
    """What is meant is one message with two blocks."""
    start = {
        "type": "message_start",
        "message": {"id": "i", "model": "m", "usage": {"input_tokens": 2, "cache_read_input_tokens": 1}},
    }
    text = block(4, "text", {"type": "text_delta", "text": "a"}, {"type": "new_delta"}, text="_")
    use = block(
        9,
        "tool_use",
        {"type": "input_json_delta", "partial_json": "{"},
        {"type": "input_json_delta", "partial_json": "}"},
        id="x",
        name="f",
        input={},
    )
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}
    reader = messages.Reader()
    events = hear(reader, {"type": "ping"}, start, start, *text, {"type": "news"}, *use, end)
    assert not reader.complete
    events += hear(reader, {"type": "message_stop"})
    found = gathered(events, messages.name)
    assert reader.complete
    assert sum(isinstance(event, form.Begin) for event in events) == 1
    assert found.choices[0].parts == (form.Text("_a"), form.ToolCall("x", "f", "{}"))
    assert found.usage == Usage(3, 5, 1)


def test_arguments_may_come_with_the_start_of_a_call_or_not_at_all() -> None:
    """A call without arguments has none; one that has them at once has those."""
    for given_, expected in (({}, "{}"), ({"a": 1}, '{"a":1}')):
        events = hear(
            messages.Reader(), *block(0, "tool_use", id="x", name="f", input=given_), {"type": "message_stop"}
        )
        assert gathered(events, messages.name).choices[0].parts == (form.ToolCall("x", "f", expected),)


def test_a_block_that_nobody_knows_comes_whole() -> None:
    """With the arguments that a server tool was given."""
    events = hear(
        messages.Reader(),
        *block(0, "server_tool_use", {"type": "input_json_delta", "partial_json": '{"q":1}'}, id="s", input={}),
        {"type": "message_stop"},
    )
    assert gathered(events, messages.name).choices[0].parts == (
        form.Opaque(messages.name, {"type": "server_tool_use", "id": "s", "input": {"q": 1}}),
    )


def test_the_sources_of_a_text_are_gathered() -> None:
    """One by one, as they come."""
    cites = [{"type": "citations_delta", "citation": {"n": n}} for n in (1, 2)]
    events = hear(messages.Reader(), *block(0, "text", *cites, text="x", citations=[]), {"type": "message_stop"})
    assert gathered(events, messages.name).choices[0].parts == (form.Text("x", {"citations": [{"n": 1}, {"n": 2}]}),)


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.just(0.5)
    | st.sampled_from(["", "x", "text", "assistant", "function", "tool_use"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "role",
                    "content",
                    "message",
                    "delta",
                    "choices",
                    "usage",
                    "id",
                    "name",
                    "function",
                    "tool_calls",
                    "thinking",
                    "source",
                    "index",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@st.composite
def broken(draw: st.DrawFn, bodies: st.SearchStrategy[dict[str, Any]]) -> Any:
    """A body with something else in one of its places."""
    body = json.loads(json.dumps(draw(bodies)))
    holder, steps = body, draw(st.integers(0, 5))
    for _ in range(steps):
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        inner = [key for key in keys if isinstance(holder[key], dict | list) and holder[key]]
        if not inner:
            break
        holder = holder[draw(st.sampled_from(inner))]
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    holder[draw(st.sampled_from(keys))] = draw(odd)
    return body


@pytest.mark.parametrize(
    ("read", "bodies"),
    [
        (chat.read_request, chat_bodies.requests),
        (chat.read_answer, chat_bodies.answers),
        (messages.read_request, messages_bodies.requests),
        (messages.read_answer, messages_bodies.answers),
    ],
    ids=["chat_request", "chat_answer", "messages_request", "messages_answer"],
)
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_json_comes_is_read_or_refused_by_name(read: Any, bodies: Any, data: st.DataObject) -> None:
    """A body with anything in any place is read, or Unreadable says where it is wrong."""
    body = data.draw(broken(bodies))
    try:
        found = read(body)
    except form.Unreadable as error:
        found = error
    if isinstance(found, form.Unreadable):
        assert found.param or not isinstance(body, dict)
        return
    write = {
        form.Request: (chat.write_request, messages.write_request),
        form.Answer: (chat.write_answer, messages.write_answer),
    }
    for each in write[type(found)]:
        each(found, form.Losses())


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["type", "choices", "delta", "index", "content_block", "message", "usage", "error"]),
            odd,
            max_size=4,
        ),
        max_size=4,
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_events_come_are_heard(payloads: list[Any]) -> None:
    """Any JSON objects in any order, and any of them as a kind that has a meaning."""
    for codec in (chat, messages):
        reader = codec.Reader()
        for payload in payloads:
            kinds = [
                "content_block_start",
                "content_block_delta",
                "message_delta",
                "message_start",
                payload.get("type"),
            ]
            gathered(hear(reader, *({**payload, "type": kind} for kind in kinds)), codec.name)


def test_an_event_that_is_no_json_object_is_unreadable() -> None:
    """Half of an object, a list, nothing."""
    for data in ("{", "[]", "1", ""):
        for codec in (chat, messages):
            with pytest.raises(form.Unreadable):
                codec.Reader().feed("", data)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_events_are_cut_wherever_their_lines_end_and_reads_are_cut(end: str) -> None:
    """Comments and fields that we do not know are skipped; the last event needs no end; data of several lines is one."""
    text = f"\ufeff: hello{end}{end}event: a{end}data: 1{end}id: 7{end}data:2{end}{end}{end}event: b{end}{end}data: é"
    for size in (1, 2, 3, 1000):
        frames, data = Frames(), text.encode()
        found = [each for i in range(0, len(data), size) for each in frames.feed(data[i : i + size])]
        assert found + frames.end() == [("a", "1\n2"), ("", "é")]


def test_an_event_without_an_end_is_refused_at_a_limit() -> None:
    """A server that never ends its event does not fill the memory."""
    frames = Frames()
    for _ in range(MAX_EVENT // 2**20):
        frames.feed(b"x" * 2**20)
    with pytest.raises(form.Unreadable, match="larger"):
        frames.feed(b"x")


@pytest.mark.parametrize("kind", [[], {}, 7])
def test_a_source_whose_type_is_no_text_is_refused_by_name(kind: object) -> None:
    """A list could not even be looked for among those that are known."""
    content = [{"type": "image", "source": {"type": kind}}]
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}]}
    with pytest.raises(form.Unreadable) as refused:
        messages.read_request(body)
    assert refused.value.param == "messages[0].content[0].source.type"
