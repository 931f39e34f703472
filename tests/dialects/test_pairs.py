"""From one protocol through the wire of another and back: it means the same, or what does not is named by its place."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from fw_gateway.providers.dialects import chat, messages
from fw_gateway.providers.form import Losses
from tests.dialects import chat_bodies, meaning, messages_bodies

MANNERS = messages.Manners(system_anywhere=True)


def chat_through_messages(body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A chat request that went through Messages, and what was named as lost on the way there."""
    losses = Losses()
    wire = messages.write_request(chat.read_request(body), losses, manners=MANNERS)
    if not wire["messages"]:
        return {**body, "messages": []}, losses.names  # nothing could be said
    return chat.write_request(messages.read_request(wire), Losses(), beyond=chat.BEYOND), losses.names


def messages_through_chat(body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A request of Messages that went through chat, and what was named as lost on the way there."""
    losses = Losses()
    wire = chat.write_request(messages.read_request(body), losses, beyond=chat.BEYOND)
    thinks: Any = "budget" if body.get("thinking", {}).get("type") == "enabled" else "adaptive"
    found = messages.write_request(chat.read_request(wire), Losses(), manners=replace(MANNERS, thinks=thinks))
    return found, losses.names


@given(chat_bodies.requests)
@settings(max_examples=150, deadline=None)
def test_a_chat_request_means_the_same_behind_messages_but_for_what_is_named(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    found, lost = chat_through_messages(body)
    lost = [
        *lost,
        *(["max_completion_tokens"] if "max_tokens" not in body and "max_completion_tokens" not in body else []),
    ]
    assert meaning.differences(meaning.chat_request(body, lost), meaning.chat_request(found), lost) == []


@given(chat_bodies.usual_requests)
@settings(max_examples=150, deadline=None)
def test_what_both_protocols_can_say_is_not_named(body: dict[str, Any]) -> None:
    """No loss is named for tools, pictures, documents, thoughts, marks for the cache, formats and limits, but for a format's name."""
    thinks = body.get("reasoning_effort", "none") != "none"
    apart = {"temperature", "top_p", "top_k", "reasoning_effort"} if thinks else set()  # Claude samples or thinks
    assert set(chat_through_messages(body)[1]) <= {"response_format.json_schema.name", *apart}


@given(messages_bodies.requests)
@settings(max_examples=150, deadline=None)
def test_a_request_of_messages_means_the_same_behind_chat_but_for_what_is_named(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    found, lost = messages_through_chat(body)
    assert meaning.differences(meaning.messages_request(body, lost), meaning.messages_request(found), lost) == []


@given(messages_bodies.usual_requests)
@settings(max_examples=150, deadline=None)
def test_what_chat_can_say_too_is_not_named(body: dict[str, Any]) -> None:
    """No loss is named for tools, results, pictures, documents, thoughts, marks for the cache, formats and limits."""
    assert messages_through_chat(body)[1] == []


@given(chat_bodies.answers)
@settings(max_examples=150, deadline=None)
def test_a_chat_answer_means_the_same_behind_messages_but_for_what_is_named(body: dict[str, Any]) -> None:
    """All differences are at places that were named; when it was made is always one."""
    losses = Losses()
    wire = messages.write_answer(chat.read_answer(body), losses)
    found = chat.write_answer(messages.read_answer(wire), Losses())
    assert meaning.differences(meaning.chat_answer(body), meaning.chat_answer(found), losses.names) == []


@given(messages_bodies.answers)
@settings(max_examples=150, deadline=None)
def test_an_answer_of_messages_means_the_same_behind_chat_but_for_what_is_named(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    losses = Losses()
    wire = chat.write_answer(messages.read_answer(body), losses)
    found = messages.write_answer(chat.read_answer(wire), Losses())
    assert (
        meaning.differences(meaning.messages_answer(body, losses.names), meaning.messages_answer(found), losses.names)
        == []
    )


@given(chat_bodies.usual_answers)
@settings(max_examples=150, deadline=None)
def test_of_a_usual_chat_answer_only_its_time_is_named(body: dict[str, Any]) -> None:
    """Messages has no time."""
    losses = Losses()
    messages.write_answer(chat.read_answer(body), losses)
    assert losses.names == ["created"]


@given(messages_bodies.usual_answers)
@settings(max_examples=150, deadline=None)
def test_of_a_usual_answer_of_messages_nothing_is_named(body: dict[str, Any]) -> None:
    """Chat has a word, or a convention of its servers, for all of it."""
    losses = Losses()
    chat.write_answer(messages.read_answer(body), losses)
    assert losses.names == []


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ({"a": 1}, {"a": 2}, ["b"]),
        ({"a": [{"x": 1}, {"x": 2}]}, {"a": [{"x": 2}]}, ["a[1]"]),
        ({"a": [{"x": 1}]}, {"a": [{"x": 1}, {"x": 2}]}, ["a[0]"]),
        ({}, {"a": 1}, ["b"]),
    ],
)
def test_a_difference_that_was_not_named_is_found(
    before: dict[str, Any], after: dict[str, Any], lost: list[str]
) -> None:
    """The comparison itself rejects what it should."""
    placed = {
        name: [{**one, "@": f"a[{i}]"} for i, one in enumerate(value)] if isinstance(value, list) else value
        for name, value in before.items()
    }
    assert meaning.differences(placed, after, lost)
