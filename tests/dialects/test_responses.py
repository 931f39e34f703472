"""The Responses protocol keeps what a body says, on its way to the form and back."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fw_gateway.providers import form
from fw_gateway.providers.dialects import responses
from fw_gateway.values import Usage
from tests.dialects import responses_bodies as bodies


@given(bodies.requests)
@settings(max_examples=100, deadline=None)
def test_a_request_comes_back_as_it_was(body: dict[str, Any]) -> None:
    """Member by member, unknown ones and nulls included; nothing is lost on the way to oneself."""
    losses = form.Losses()
    assert responses.write_request(responses.read_request(body), losses) == body
    assert not losses.names


@given(bodies.answers)
@settings(max_examples=100, deadline=None)
def test_an_answer_comes_back_as_it_was(body: dict[str, Any]) -> None:
    """Ids, echoes and usage included."""
    losses = form.Losses()
    assert responses.write_answer(responses.read_answer(body), losses) == body
    assert not losses.names


junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([
                "type", "role", "content", "text", "id", "call_id", "output", "summary", "name", "arguments", "item", "part",
                "response", "output_index", "delta", "error", "status", "usage", "encrypted_content", "format", "image_url",
            ]),
            st.one_of(
                inner,
                st.sampled_from([
                    "message", "reasoning", "function_call", "function_call_output", "assistant", "user", "output_text", "input_text",
                    "input_image", "input_file", "response.output_item.added", "response.output_item.done", "response.completed",
                    "response.content_part.added", "response.output_text.delta", "response.output_text.done", "response.failed",
                    "response.content_part.done", "response.reasoning_summary_part.added", "response.function_call_arguments.done",
                ]),
            ),
            max_size=5,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["model", "input", *bodies.options]), junk, max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_strange_request_is_refused_or_written_and_nothing_breaks(body: dict[str, Any]) -> None:
    """Whatever JSON comes, the only complaint names what is wrong with it."""
    complaint = ""
    try:
        responses.write_request(responses.read_request({"model": "m", **body}), form.Losses())
    except form.Unreadable as wrong:
        complaint = f"{wrong.param} {wrong.message}"
    responses.stateful(body)
    assert not complaint.startswith(" ")


@given(
    st.dictionaries(st.sampled_from(["id", "model", "output", "usage", "status", "incomplete_details"]), junk),
    st.lists(junk),
)
@settings(max_examples=100, deadline=None)
def test_a_strange_answer_is_refused_or_read_and_nothing_breaks(body: dict[str, Any], events: list[Any]) -> None:
    """Whole or as a stream."""
    reader = responses.Reader()
    try:
        responses.write_answer(responses.read_answer({"output": [], **body}), form.Losses())
        for event in events:
            reader.feed("", orjson.dumps(event).decode())
    except form.Unreadable:
        pass


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "hi"}, "model"),
        ({"model": 3, "input": "hi"}, "model"),
        ({"model": "m", "input": 3}, "input"),
        ({"model": "m", "input": [3]}, "input[0]"),
        ({"model": "m", "input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"model": "m", "input": [{"role": "user", "content": None}]}, "input[0].content"),
        ({"model": "m", "input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"model": "m", "input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"model": "m", "input": [{"type": "function_call_output", "call_id": "c", "output": 3}]}, "input[0].output"),
        ({"model": "m", "input": "hi", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"model": "m", "input": "hi", "text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"model": "m", "input": "hi", "temperature": "warm"}, "temperature"),
        ({"model": "m", "input": "hi", "stream": 1}, "stream"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    """By its place in the body."""
    with pytest.raises(form.Unreadable) as wrong:
        responses.read_request(body)
    assert wrong.value.param == param


@pytest.mark.parametrize(
    ("more", "member"),
    [
        ({}, None),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"background": False, "previous_response_id": None, "store": True}, None),
        ({"input": [{"role": "user", "content": "hi"}, {"type": "item_reference", "id": "rs_1"}]}, "input[1]"),
        ({"input": [{"id": "rs_1"}]}, "input[0]"),
    ],
)
def test_what_needs_an_upstream_that_stores_is_named(more: dict[str, Any], member: str | None) -> None:
    """A reference to what lies at one upstream is no question to another."""
    assert responses.stateful({"model": "m", "input": "hi", **more}) == member


def test_what_is_said_and_called_without_an_answer_between_is_one_turn() -> None:
    """So that a protocol that wants a call's answer right behind it can be served."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    asked = responses.read_request(
        {
            "model": "m",
            "input": [
                {"role": "user", "content": "hi"},
                {"type": "reasoning", "id": "rs_1", "summary": []},
                {"role": "assistant", "content": "a"},
                call,
                {"role": "assistant", "content": "b"},
                {"type": "function_call_output", "call_id": "c", "output": "1"},
                {"role": "assistant", "content": "c"},
                {"role": "assistant", "content": "d"},
            ],
        }
    )
    assert [message.role for message in asked.messages] == ["user", "assistant", "tool", "assistant", "assistant"]
    kinds = [type(part) for part in asked.messages[1].parts]
    assert kinds == [form.Reasoning, form.Text, form.ToolCall, form.Text]
    assert [message.parts for message in asked.messages[3:]] == ["c", "d"]


def test_thoughts_of_another_provider_find_their_way_back_through_a_client() -> None:
    """Sealed into the answer, opened from the next request; to OpenAI itself, which would refuse them, they do not go."""
    thought = form.Reasoning("hm", signature="sig")
    answer = form.Answer(
        "anthropic_messages", "msg_1", "m", (form.Choice((thought, form.Reasoning(sealed="red")), "stop"),)
    )
    output = responses.write_answer(answer, form.Losses(), seed="1")["output"]
    asked = responses.read_request({"model": "m", "input": [{"role": "user", "content": "hi"}, *output]})
    found = [
        (part.text, part.signature, part.sealed, part.maker)
        for part in asked.messages[1].parts
        if isinstance(part, form.Reasoning)
    ]
    assert found == [("hm", "sig", "", "anthropic_messages"), ("", "", "red", "anthropic_messages")]
    losses = form.Losses()
    assert responses.write_request(asked, losses)["input"] == [{"role": "user", "content": "hi"}]
    assert losses.names == ["input[1]", "input[2]"]


def test_a_tool_of_another_protocol_is_not_strict_unless_it_says_so() -> None:
    """What is not said means strict here, and not strict elsewhere."""
    tools = (form.Tool("a"), form.Tool("b", strict=True))
    asked = form.Request("openai_chat", "m", (form.Message("user", "hi"),), tools=tools)
    assert [tool["strict"] for tool in responses.write_request(asked, form.Losses())["tools"]] == [False, True]


def test_what_has_no_word_here_is_named_by_where_it_stood() -> None:
    """And the rest of the request is written."""
    asked = form.Request(
        "anthropic_messages", "m", (form.Message("user", (form.Text("hi", {"cache_control": {}}, at="messages[0].content[0]"),)),),
        top_k=3, stop=("x",), thinking=9, extra={"context_management": {"edits": [1]}},
        names={"stop": "stop_sequences", "thinking": "thinking.budget_tokens"},
    )  # fmt: skip
    losses = form.Losses()
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    body = responses.write_request(asked, losses)
    assert body == {"model": "m", "input": [said], "reasoning": {"effort": "low"}}
    assert sorted(losses.names) == [
        "context_management", "messages[0].content[0].cache_control", "stop_sequences", "thinking.budget_tokens", "top_k",
    ]  # fmt: skip


def test_usage_that_was_not_reported_is_not_told() -> None:
    """An unknown total is no usage at all."""
    known, unknown = Usage(3, 4, 1, None, 2), Usage(None, 4)
    answers = [form.Answer("openai_chat", "c", "m", (form.Choice((), "stop"),), usage) for usage in (known, unknown)]
    found = [responses.write_answer(answer, form.Losses(), seed="1")["usage"] for answer in answers]
    assert found[0]["input_tokens_details"] == {"cached_tokens": 1, "cache_write_tokens": 0}
    assert found[0]["total_tokens"] == 7
    assert found[1] is None
