"""A request or an answer of Responses that goes through another protocol means the same behind it, but for what was named."""

import json
from typing import Any

from hypothesis import assume, given, settings

from fw_gateway.providers.dialects import chat, messages, responses
from fw_gateway.providers.form import Losses
from tests.dialects import chat_bodies, meaning, messages_bodies, responses_meaning
from tests.dialects import responses_bodies as bodies


def through(body: dict[str, Any], other: Any, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """A request behind another protocol, and what was named as lost on the way there.

    Back here, thoughts that came without a seal are nobody's: they are named there, and free here.
    """
    there, back = Losses(), Losses()
    wire = other.write_request(responses.read_request(body), there, **options)
    found = responses.write_request(other.read_request(wire), back)
    items = body["input"] if isinstance(body["input"], list) else []
    thoughts = [f"input[{n}]" for n, item in enumerate(items) if item.get("type") == "reasoning"] if back.names else []
    return found, [*responses_meaning.places(there.names, body), *thoughts]


@given(bodies.asked)
@settings(max_examples=100, deadline=None)
def test_a_request_means_the_same_behind_chat(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    found, lost = through(body, chat, beyond=chat.BEYOND)
    before, after = (responses_meaning.request(one, join=True) for one in (body, found))
    assert meaning.differences(before, after, lost) == []


@given(bodies.asked)
@settings(max_examples=100, deadline=None)
def test_a_request_means_the_same_behind_messages(body: dict[str, Any]) -> None:
    """All differences are at places that were named; that protocol has always a limit."""
    found, lost = through(body, messages, manners=messages.Manners(system_anywhere=True))
    lost = [*lost, *(["max_output_tokens"] if body.get("max_output_tokens") is None else [])]
    assert meaning.differences(responses_meaning.request(body), responses_meaning.request(found), lost) == []


@given(bodies.answers)
@settings(max_examples=100, deadline=None)
def test_an_answer_means_the_same_behind_chat(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    losses = Losses()
    wire = chat.write_answer(responses.read_answer(body), losses)
    compared(body, responses.write_answer(chat.read_answer(wire), Losses(), seed="1"), losses.names)


@given(bodies.usual_answers)
@settings(max_examples=100, deadline=None)
def test_an_answer_means_the_same_behind_messages(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    losses = Losses()
    wire = messages.write_answer(responses.read_answer(body), losses)
    compared(body, responses.write_answer(messages.read_answer(wire), Losses(), seed="1"), losses.names, plainly=True)


def compared(before: dict[str, Any], after: dict[str, Any], lost: list[str], *, plainly: bool = False) -> None:
    """What two answers say, and how they ended."""
    names = responses_meaning.places(lost, {"input": before["output"]}, "output")
    found = responses_meaning.output(after, plainly=plainly)
    kinds = {entry["type"] for entry in found}
    said = responses_meaning.output(before, plainly=plainly, gone=names, kinds=kinds)
    assert meaning.differences({"output": said}, {"output": found}, names) == []
    refused = '"type": "refusal"' in json.dumps(before)  # a reason of its own elsewhere
    if not refused and not any(name.endswith(("stop_reason", "finish_reason")) for name in lost):
        assert after["status"] == before["status"]
        assert after["incomplete_details"] == before["incomplete_details"]


def without_strict(body: dict[str, Any]) -> dict[str, Any]:
    """A chat request or one of Messages whose tools do not say that they are not strict: there, nobody says it."""
    tools = [tool.get("function", tool) for tool in body.get("tools", [])]
    for tool in tools:
        if tool.get("strict") is False:
            del tool["strict"]
    return body


def in_turns(body: dict[str, Any]) -> dict[str, Any]:
    """A chat request in which words right before calls are of one message with them: Responses has no other way to say it."""
    found: list[dict[str, Any]] = []
    for message in body["messages"]:
        last = found[-1] if found else {}
        if message["role"] == last.get("role") == "assistant" and "tool_calls" not in last and not message["content"]:
            found[-1] = {**message, **last}
        else:
            found.append(message)
    return {**body, "messages": found}


def widened(lost: list[str], body: dict[str, Any]) -> list[str]:
    """Names of losses with what they come to: a message of which every part is lost, a mark that is one on its last part."""
    out = list(lost)
    for number, message in enumerate(body["messages"]):
        at, content = f"messages[{number}]", message.get("content")
        if isinstance(content, list) and all(f"{at}.content[{n}]" in lost for n in range(len(content))):
            out.append(at)
        if f"{at}.cache_control" in lost:
            last = f"[{len(content) - 1}]" if isinstance(content, list) else ""
            out.append(f"{at}.content{last}.cache_control")
    return out


@given(chat_bodies.usual_requests)
@settings(max_examples=100, deadline=None)
def test_a_chat_request_means_the_same_behind_responses(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    losses = Losses()
    wire = responses.write_request(chat.read_request(body), losses)
    back = Losses()
    found = chat.write_request(responses.read_request(wire), back, beyond=chat.BEYOND)
    assume(not back.names)
    before, after = (in_turns(without_strict(meaning.chat_request(one))) for one in (body, found))
    assert meaning.differences(before, after, widened(losses.names, body)) == []


@given(messages_bodies.usual_requests)
@settings(max_examples=100, deadline=None)
def test_a_request_of_messages_means_the_same_behind_responses(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    losses = Losses()
    wire = responses.write_request(messages.read_request(body), losses)
    back, manners = Losses(), messages.Manners(system_anywhere=True)
    found = messages.write_request(responses.read_request(wire), back, manners=manners)
    lost = widened(losses.names, body)
    assume(not back.names)
    assume(not any(f"messages[{n}]" in lost for n in range(len(body["messages"]))))  # the users around it would be one
    before, after = (without_strict(meaning.messages_request(one)) for one in (body, found))
    assert meaning.differences(before, after, lost) == []


@given(chat_bodies.answers)
@settings(max_examples=100, deadline=None)
def test_a_chat_answer_means_the_same_behind_responses(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    losses = Losses()
    wire = responses.write_answer(chat.read_answer(body), losses, seed="1")
    found = chat.write_answer(responses.read_answer(wire), Losses())
    assert meaning.differences(meaning.chat_answer(body), meaning.chat_answer(found), [*losses.names, "id"]) == []


@given(messages_bodies.usual_answers)
@settings(max_examples=100, deadline=None)
def test_an_answer_of_messages_means_the_same_behind_responses(body: dict[str, Any]) -> None:
    """All differences are at places that were named."""
    losses = Losses()
    wire = responses.write_answer(messages.read_answer(body), losses, seed="1")
    found = messages.write_answer(responses.read_answer(wire), Losses())
    assert (
        meaning.differences(
            meaning.messages_answer(body, losses.names), meaning.messages_answer(found), [*losses.names, "id"]
        )
        == []
    )
