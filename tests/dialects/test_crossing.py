"""What chat says and what Messages says for it, case by case; and what neither can say for the other, by its place."""

from typing import Any

import pytest

from fw_gateway.providers import form
from fw_gateway.providers.dialects import chat, messages
from fw_gateway.providers.gather import gathered, told
from fw_gateway.providers.sse import Frames

MARK = {"type": "ephemeral"}
USER = {"role": "user", "content": "?"}
USE = {"type": "tool_use", "id": "x", "name": "f", "input": "{}"}
MANNERS = ("thinks", "system_anywhere", "sampling", "quiet")
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def to_messages(*turns: dict[str, Any], **members: Any) -> tuple[dict[str, Any], list[str]]:
    """A chat request as one of Messages, and what was lost."""
    losses, manners = form.Losses(), messages.Manners(**{k: members.pop(k) for k in MANNERS if k in members})
    asked = chat.read_request({"model": "m", "messages": list(turns or (USER,)), **members})
    return messages.write_request(asked, losses, manners=manners), losses.names


def to_chat(*turns: dict[str, Any], beyond: Any = (), **members: Any) -> tuple[dict[str, Any], list[str]]:
    """A request of Messages as a chat request, and what was lost."""
    losses = form.Losses()
    asked = messages.read_request({"model": "m", "max_tokens": 9, "messages": list(turns or (USER,)), **members})
    return chat.write_request(asked, losses, beyond=beyond), losses.names


def test_results_of_tools_and_the_user_behind_them_are_one_turn_of_messages() -> None:
    """In order, failed or not, with the marks for the cache."""
    calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}} for i in "xy"]
    found, lost = to_messages(
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "x", "content": "1"},
        {"role": "tool", "tool_call_id": "y", "content": [{"type": "text", "text": "2"}], "cache_control": MARK},
        {"role": "user", "content": "go on"},
    )
    assert found["messages"][1]["content"] == [
        {"type": "tool_use", "id": i, "name": "f", "input": {"a": 1}} for i in "xy"
    ]
    assert found["messages"][2:] == [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "x", "content": "1"},
                {
                    "type": "tool_result",
                    "tool_use_id": "y",
                    "content": [{"type": "text", "text": "2"}],
                    "cache_control": MARK,
                },
                {"type": "text", "text": "go on"},
            ],
        }
    ]
    assert lost == []


def test_what_a_result_shows_is_shown_by_a_user_where_a_tool_may_only_speak() -> None:
    """The picture comes first in what the user says behind the results; that it moved is named, and that a result is an error."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "x",
        "is_error": True,
        "content": [{"type": "text", "text": "t"}, picture],
    }
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "f", "input": {}}]}
    found, lost = to_chat(USER, use, {"role": "user", "content": [result, {"type": "text", "text": "and?"}]})
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}
    assert found["messages"][2:] == [
        {"role": "tool", "tool_call_id": "x", "content": [{"type": "text", "text": "t"}]},
        {"role": "user", "content": [shown, {"type": "text", "text": "and?"}]},
    ]
    assert lost == ["messages[2].content[0].content[1]", "messages[2].content[0].is_error"]
    inline, _ = to_chat(USER, use, {"role": "user", "content": [result]}, beyond=chat.BEYOND)
    assert inline["messages"][2]["content"] == [{"type": "text", "text": "t"}, shown]


def test_a_system_that_speaks_late_is_told_where_it_spoke() -> None:
    """As a system where the model and the place allow it, else by a user, which is named."""
    late = {"role": "developer", "content": "now"}
    found, lost = to_messages({"role": "system", "content": "s"}, USER, late, system_anywhere=True)
    assert (found["system"], found["messages"][1], lost) == ("s", {"role": "system", "content": "now"}, [])
    found, lost = to_messages({"role": "system", "content": "s"}, USER, late)
    assert (found["messages"][1], lost) == ({"role": "user", "content": "now"}, ["messages[2].role"])
    found, lost = to_messages(USER, {"role": "assistant", "content": "a"}, late, system_anywhere=True)
    assert (found["messages"][2]["role"], lost) == ("user", ["messages[2].role"])


def test_a_system_alone_asks_as_a_user() -> None:
    """Messages must have a turn."""
    found, lost = to_messages({"role": "system", "content": "a"}, {"role": "system", "content": "b"})
    assert (found["system"], found["messages"], lost) == ("a", [{"role": "user", "content": "b"}], ["messages[1].role"])


def test_a_mark_for_the_cache_on_a_whole_message_is_one_on_its_last_part() -> None:
    """Messages has marks on blocks alone."""
    found, lost = to_messages(
        {"role": "system", "content": "s", "cache_control": MARK}, {**USER, "cache_control": MARK}
    )
    assert found["system"] == [{"type": "text", "text": "s", "cache_control": MARK}]
    assert found["messages"] == [{"role": "user", "content": [{"type": "text", "text": "?", "cache_control": MARK}]}]
    assert lost == []


def test_what_openai_refuses_is_left_out_of_a_chat_request_unless_the_server_takes_it() -> None:
    """Marks for the cache, thoughts of earlier turns, top_k: named, or carried."""
    said = {"role": "user", "content": [{"type": "text", "text": "?", "cache_control": MARK}]}
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    turns = (said, {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]})
    found, lost = to_chat(*turns, top_k=5)
    assert found["messages"][0]["content"] == [{"type": "text", "text": "?"}]
    assert found["messages"][1] == {"role": "assistant", "content": "a"}
    assert lost == ["messages[0].content[0].cache_control", "messages[1].content[0]", "top_k"]
    found, lost = to_chat(*turns, top_k=5, beyond=chat.BEYOND)
    assert found["messages"][1] == {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "t",
        "thinking_blocks": [thought],
    }
    assert (found["top_k"], lost) == (5, [])


@pytest.mark.parametrize(
    ("members", "lost"),
    [
        ({"seed": 1}, ["seed"]),
        ({"n": 2}, ["n"]),
        ({"temperature": 1.5}, ["temperature"]),
        ({"logprobs": True}, ["logprobs"]),
        ({"logprobs": False, "seed": None}, []),
        ({"metadata": {"a": "b"}}, ["metadata"]),
        ({"service_tier": "flex"}, ["service_tier"]),
        ({"response_format": {"type": "json_object"}}, ["response_format"]),
        ({"parallel_tool_calls": False}, ["parallel_tool_calls"]),
        ({"tools": TOOLS, "parallel_tool_calls": False}, []),
        ({"tools": [*TOOLS, {"type": "custom", "custom": {"name": "c"}}]}, ["tools[1]"]),
        ({"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]}, ["tools[0].function.x"]),
        ({"reasoning_effort": "minimal"}, ["reasoning_effort"]),
        ({"reasoning_effort": "none"}, []),
        ({"stream": True, "stream_options": {"include_usage": True}}, []),
    ],
)
def test_what_messages_cannot_say_is_named(members: dict[str, Any], lost: list[str]) -> None:
    """By the member of the caller's own request."""
    assert to_messages(**members)[1] == lost


def test_the_detail_of_a_picture_and_an_audio_are_named_where_they_stood() -> None:
    """Deep in the message."""
    picture = {"type": "image_url", "image_url": {"url": "https://a.example", "detail": "low"}}
    audio = {"type": "input_audio", "input_audio": {"data": "aaaa", "format": "wav"}}
    found, lost = to_messages({"role": "user", "name": "bob", "content": [picture, audio]})
    assert found["messages"][0]["content"] == [{"type": "image", "source": {"type": "url", "url": "https://a.example"}}]
    assert lost == ["messages[0].name", "messages[0].content[0].image_url.detail", "messages[0].content[1]"]


@pytest.mark.parametrize(
    ("thinks", "found"),
    [
        ("adaptive", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}, "max_tokens": 4096}),
        ("effort", {"output_config": {"effort": "high"}, "max_tokens": 4096}),
        ("budget", {"thinking": {"type": "enabled", "budget_tokens": 24576}, "max_tokens": 4096 + 24576}),
    ],
)
def test_effort_is_said_in_the_way_that_the_model_understands(thinks: str, found: dict[str, Any]) -> None:
    """By name for models that decide themselves, in tokens for those before."""
    body, lost = to_messages(reasoning_effort="high", thinks=thinks)
    assert {name: body[name] for name in body if name in {"thinking", "output_config", "max_tokens"}} == found
    assert lost == []


def test_what_a_model_does_not_take_is_left_out_and_named() -> None:
    """Sampling, by a model that takes none or while it thinks; not to think, by one that always does; thoughts, where a tool must be called."""
    sampling = {"temperature": 0, "top_p": 0.5, "top_k": 3}
    assert to_messages(**sampling)[1] == []
    assert to_messages(**sampling, sampling=False)[1] == list(sampling)
    assert to_messages(**sampling, reasoning_effort="low")[1] == list(sampling)
    assert to_messages(reasoning_effort="none", quiet="between_tools")[0]["thinking"] == {"type": "between_tools"}
    found, lost = to_messages(reasoning_effort="none", quiet="")
    assert (found["output_config"], "thinking" in found, lost) == ({"effort": "low"}, False, ["reasoning_effort"])
    found, lost = to_messages(reasoning_effort="low", tools=TOOLS, tool_choice="required")
    assert ("thinking" in found, found["tool_choice"], lost) == (False, {"type": "any"}, ["reasoning_effort"])


@pytest.mark.parametrize(
    ("model", "manners"),
    [
        ("glm-5", messages.Manners("budget")),
        ("claude-3-7-sonnet-20250219", messages.Manners("budget")),
        ("claude-opus-4-20250514", messages.Manners("budget")),
        ("claude-haiku-4-5-20251001", messages.Manners("budget")),
        ("us.anthropic.claude-sonnet-4-6-v1:0", messages.Manners()),
        ("anthropic/claude-opus-4.7", messages.Manners(sampling=False)),
        ("claude-opus-4-8", messages.Manners(sampling=False, system_anywhere=True)),
        ("claude-sonnet-5", messages.Manners(sampling=False, system_anywhere=True)),
        ("claude-fable-5-1", messages.Manners(quiet="", sampling=False, system_anywhere=True)),
        ("claude-opus-5-5", messages.Manners(quiet="", sampling=False, system_anywhere=True)),
        ("claude-sonnet-5-5@20260928", messages.Manners(quiet="between_tools", sampling=False, system_anywhere=True)),
    ],
)
def test_the_manners_of_a_model_are_those_of_its_generation(model: str, manners: messages.Manners) -> None:
    """Whatever a cloud puts before or behind the name."""
    assert messages.manners_of(model) == manners


def test_a_budget_stays_below_the_limit_that_was_asked_for() -> None:
    """The protocol wants room for an answer; with none for thoughts there are none."""
    body, lost = to_messages(reasoning_effort="high", max_tokens=2000, thinks="budget")
    assert (body["thinking"]["budget_tokens"], lost) == (1999, ["reasoning_effort"])
    body, lost = to_messages(reasoning_effort="high", max_tokens=100, thinks="budget")
    assert ("thinking" in body, lost) == (False, ["reasoning_effort"])


@pytest.mark.parametrize(
    ("members", "effort", "lost"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 20_000}}, "high", ["thinking"]),
        ({"thinking": {"type": "disabled"}}, "none", []),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max", []),
        ({"thinking": {"type": "adaptive"}}, None, ["thinking"]),
        ({"thinking": {"type": "between_tools"}}, None, ["thinking"]),
    ],
)
def test_thinking_is_an_effort_in_chat(members: dict[str, Any], effort: str | None, lost: list[str]) -> None:
    """A number of tokens is the effort that comes near it, and is named."""
    found, names = to_chat(**members)
    assert (found.get("reasoning_effort"), names) == (effort, lost)


def test_a_schema_for_the_answer_goes_over_but_for_its_name() -> None:
    """Messages keeps a schema strictly and calls it nothing."""
    schema = {"type": "object"}
    found, lost = to_messages(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})
    assert found["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert lost == ["response_format.json_schema.name"]
    found, lost = to_chat(output_config={"format": {"type": "json_schema", "schema": schema}})
    asked = {"name": "answer", "schema": schema, "strict": True}
    assert (found["response_format"], lost) == ({"type": "json_schema", "json_schema": asked}, [])


def test_arguments_that_are_no_object_are_told_as_the_text_they_are() -> None:
    """Nothing is rounded or made up; it is named."""
    for arguments in ('{"a', "[1]", '{"n": 99999999999999999999}'):
        calls = [{"id": "x", "type": "function", "function": {"name": "f", "arguments": arguments}}]
        found, lost = to_messages(USER, {"role": "assistant", "tool_calls": calls})
        assert found["messages"][1]["content"][0]["input"] == {"arguments": arguments}
        assert lost == ["messages[1].tool_calls[0].function.arguments"]


ANSWER = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}


def answer_in_messages(
    message: dict[str, Any], finish: str = "stop", **members: Any
) -> tuple[dict[str, Any], list[str]]:
    """A chat answer as one of Messages, and what was lost."""
    losses = form.Losses()
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **members}
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
    }
    return messages.write_answer(
        chat.read_answer({**ANSWER, "choices": [choice], "usage": usage}), losses
    ), losses.names


def test_input_that_was_cached_is_part_of_the_input_in_chat_and_none_of_it_in_messages() -> None:
    """Ten tokens of which four were read from a cache and three written to one are three more."""
    usage = answer_in_messages({"content": "a"})[0]["usage"]
    assert usage == {
        "input_tokens": 3,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 3,
        "output_tokens": 5,
    }
    found = chat.write_answer(messages.read_answer({"content": [], "usage": usage}), form.Losses())["usage"]
    assert found["prompt_tokens"] == 10
    assert found["prompt_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 3}


def test_the_reason_of_a_finish_is_the_one_that_clients_look_for() -> None:
    """Calls are calls even where a server says stop; a refusal is one; the sequence that was met is known."""
    calls = [{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert answer_in_messages({"content": None, "tool_calls": calls})[0]["stop_reason"] == "tool_use"
    found, lost = answer_in_messages({"content": None, "refusal": "no"})
    assert (found["stop_reason"], found["content"]) == ("refusal", [{"type": "text", "text": "no"}])
    assert lost[:2] == ["choices[0].message.refusal", "choices[0].finish_reason"]
    found, _ = answer_in_messages({"content": "a"}, stop_reason="END")
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")


def test_usage_that_is_unknown_is_never_made_up_without_being_named() -> None:
    """Messages must have numbers; chat can go without."""
    losses = form.Losses()
    body = {
        **ANSWER,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
    }
    assert messages.write_answer(chat.read_answer(body), losses)["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert "usage" in losses.names
    assert "usage" not in chat.write_answer(messages.read_answer({"content": []}), form.Losses())


def test_thoughts_of_another_maker_find_their_way_back_to_it_and_to_nobody_else() -> None:
    """A client of Messages keeps what a model behind Responses sealed, whole or streamed; Anthropic's models never see it."""
    thought = form.Reasoning("sum", sealed="enc", id="rs_1", summary=True, maker="openai_responses")
    answer = form.Answer("openai_responses", "r", "m", (form.Choice((thought, form.Text("a")), "stop"),))
    whole = messages.write_answer(answer, form.Losses())["content"]
    writer = messages.Writer(None, source="openai_responses")
    frames = Frames().feed(b"".join(map(writer.write, told(answer))) + writer.end())
    reader = messages.Reader()
    streamed = gathered((event for name, data in frames for event in reader.feed(name, data)), messages.name)
    assert (
        messages.read_answer({"content": whole}).choices[0].parts
        == streamed.choices[0].parts
        == (thought, form.Text("a"))
    )
    losses = form.Losses()
    asked = messages.read_request(
        {"model": "m", "max_tokens": 1, "messages": [USER, {"role": "assistant", "content": whole}]}
    )
    assert messages.write_request(asked, losses)["messages"][1]["content"] == [{"type": "text", "text": "a"}]
    assert losses.names == ["messages[1].content[0]"]


def test_thoughts_without_a_signature_are_not_sent_to_anthropic() -> None:
    """It would refuse the whole request."""
    found, lost = to_messages(USER, {"role": "assistant", "content": "a", "reasoning_content": "t"}, USER)
    assert found["messages"][1] == {"role": "assistant", "content": [{"type": "text", "text": "a"}]}
    assert lost == ["messages[1].reasoning_content"]


@pytest.mark.parametrize(
    ("read", "members", "param"),
    [
        (chat.read_request, {"messages": []}, "messages"),
        (chat.read_request, {"messages": [{"role": "bob"}]}, "messages[0].role"),
        (chat.read_request, {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        (chat.read_request, {"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        (chat.read_request, {"temperature": 3}, "temperature"),
        (chat.read_request, {"n": 0}, "n"),
        (chat.read_request, {"stop": [1]}, "stop"),
        (chat.read_request, {"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (messages.read_request, {}, "max_tokens"),
        (messages.read_request, {"max_tokens": 1, "temperature": 1.5}, "temperature"),
        (messages.read_request, {"max_tokens": 1, "messages": [{"role": "tool", "content": ""}]}, "messages[0].role"),
        (messages.read_request, {"max_tokens": 1, "thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
        (messages.read_request, {"max_tokens": 1, "tools": [{"name": "f"}]}, "tools[0].input_schema"),
        (messages.read_request, {"max_tokens": 1, "messages": [{"role": "user", "content": [USE]}]}, "messages[0].content[0].input"),
    ],
)  # fmt: skip
def test_what_the_protocol_forbids_is_refused_by_its_place(read: Any, members: dict[str, Any], param: str) -> None:
    """The caller is told which member is wrong."""
    with pytest.raises(form.Unreadable) as error:
        read({"model": "m", "messages": [USER], **members})
    assert error.value.param == param


@pytest.mark.parametrize(
    ("status", "kind", "theirs", "ours"),
    [
        (400, "", "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error", "authentication_error"),
        (402, "insufficient_quota", "billing_error", "insufficient_quota"),
        (404, "invalid_request_error", "not_found_error", "invalid_request_error"),
        (413, "", "request_too_large", "invalid_request_error"),
        (418, "", "invalid_request_error", "invalid_request_error"),
        (429, "", "rate_limit_error", "rate_limit_error"),
        (502, "server_error", "api_error", "server_error"),
        (504, "timeout_error", "timeout_error", "timeout_error"),
        (529, "overloaded_error", "overloaded_error", "overloaded_error"),
    ],
)
def test_an_error_has_the_type_that_clients_of_each_protocol_know(
    status: int, kind: str, theirs: str, ours: str
) -> None:
    """By its kind where the protocol has it, else by its status; code and message survive."""
    error = messages.error_body(status, "no", kind, "c")
    assert error == {"type": "error", "error": {"type": theirs, "message": "no", "details": {"error_code": "c"}}}
    assert messages.read_error(error, status) == ("no", theirs, "c")
    assert chat.error_body(status, "no", kind, "c") == {
        "error": {"message": "no", "type": ours, "param": None, "code": "c"}
    }
    assert chat.read_error(chat.error_body(status, "no", kind, "c"), status) == ("no", ours, "c")


def test_an_error_of_any_shape_is_read() -> None:
    """Text, detail, a number as code, nothing."""
    assert chat.read_error("gone", 404) == ("gone", "invalid_request_error", "")
    assert chat.read_error({"detail": "bad"}, 422) == ("bad", "invalid_request_error", "")
    assert chat.read_error({"error": {"message": "m", "code": 7}}, 500) == ("m", "api_error", "7")
    assert messages.read_error(None, 529) == ("", "overloaded_error", "")
