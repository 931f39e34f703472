"""The official Anthropic client, unmodified, before every protocol: text, tools, thinking, counting, errors; sync, async, streaming."""

import json
from typing import Any

import anthropic
import pytest

from tests.clients.test_openai import PIXEL, SCHEMA
from tests.clients.upstream import SIGNATURE, Upstream

TOOL: Any = {"name": "weather", "description": "Look out", "input_schema": SCHEMA}
HI: Any = [{"role": "user", "content": "Hi"}]
ASK: Any = [{"role": "user", "content": "weather in Oslo and Rome"}]


def test_a_message_answers_with_text_and_usage(ant: anthropic.Anthropic, upstream: Upstream, back: str) -> None:
    """The words, why they stopped, and usage by Anthropic's own way of counting: what the cache gave is not in the input."""
    answer = ant.messages.create(model=back, max_tokens=50, system="Be brief.", messages=HI)
    assert [block.text for block in answer.content if block.type == "text"] == ["Hello from here"]
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens, answer.usage.output_tokens) == (7, 2, 4)
    assert "Be brief." in json.dumps(upstream.last)
    assert 50 in upstream.last.values()


async def test_a_message_streams(aant: anthropic.AsyncAnthropic, back: str) -> None:
    """Pieces in order; the accumulated message is whole."""
    async with aant.messages.stream(model=back, max_tokens=50, messages=HI) as stream:
        words = "".join([text async for text in stream.text_stream])
        final = await stream.get_final_message()
    assert words == "Hello from here"
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == 4


@pytest.mark.parametrize("streamed", [False, True])
def test_two_tools_are_called_and_their_results_taken(
    ant: anthropic.Anthropic, upstream: Upstream, back: str, streamed: bool
) -> None:
    """Both calls arrive whole; results reach the upstream under the same ids."""
    asked: dict[str, Any] = {"model": back, "max_tokens": 50, "messages": ASK, "tools": [TOOL]}
    if streamed:
        with ant.messages.stream(**asked) as stream:
            answer: Any = stream.get_final_message()
    else:
        answer = ant.messages.create(**asked)
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert answer.stop_reason == "tool_use"
    assert [(call.id, call.name, call.input) for call in calls] == [
        ("call_0", "weather", {"city": "Oslo"}),
        ("call_1", "weather", {"city": "Rome"}),
    ]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"rain {i}"} for i, call in enumerate(calls)]
    said = [block.model_dump(exclude_none=True) for block in calls]
    turns = [*ASK, {"role": "assistant", "content": said}, {"role": "user", "content": results}]
    answer = ant.messages.create(**{**asked, "messages": turns})
    assert answer.content[0].text == "Hello from here"
    sent = json.dumps(upstream.last)
    assert sent.index("rain 0") < sent.index("rain 1")
    assert sent.count("call_0") == sent.count("call_1") == 2


def test_thoughts_come_signed_and_go_back(ant: anthropic.Anthropic, upstream: Upstream) -> None:
    """With thinking on, thoughts and their signature arrive, and are what the next turn gives back."""
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    with ant.messages.stream(model="messages", max_tokens=2000, messages=HI, thinking=thinking) as stream:
        answer = stream.get_final_message()
    thought = answer.content[0]
    assert thought.type == "thinking"
    assert (thought.thinking, thought.signature) == ("Let me think.", SIGNATURE)
    turns: Any = [
        *HI,
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]},
        *HI,
    ]
    ant.messages.create(model="messages", max_tokens=2000, messages=turns, thinking=thinking)
    assert upstream.last["messages"][1]["content"][0]["signature"] == SIGNATURE


def test_a_picture_and_marks_for_the_cache_arrive(ant: anthropic.Anthropic, upstream: Upstream, back: str) -> None:
    """The bytes everywhere; the marks where there is a word for them, else they are named as lost."""
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    parts: Any = [
        {"type": "image", "source": source},
        {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
    ]
    raw = ant.messages.with_raw_response.create(model=back, max_tokens=9, messages=[{"role": "user", "content": parts}])
    assert PIXEL in json.dumps(upstream.last)
    kept = "cache_control" in json.dumps(upstream.last)
    assert kept or "messages[0].content[1].cache_control" in raw.headers["x-fw-lost"]
    assert kept or back != "messages"


def test_tokens_are_counted_or_estimated(ant: anthropic.Anthropic, back: str) -> None:
    """By the upstream where it can; elsewhere it is an estimate, and says so."""
    raw = ant.messages.with_raw_response.count_tokens(model=back, messages=HI)
    counted = raw.parse().input_tokens
    assert counted == 11 if back == "messages" else counted > 0
    assert ("x-fw-estimated" in raw.headers) is (back != "messages")


def test_refusals_are_raised_by_their_names(ant: anthropic.Anthropic, back: str) -> None:
    """Status and message of the upstream, in Anthropic's shape."""
    with pytest.raises(anthropic.RateLimitError, match="told to"):
        ant.messages.create(model=back, max_tokens=9, messages=[{"role": "user", "content": "REFUSE 429"}])
    with pytest.raises(anthropic.BadRequestError, match="told to"):
        ant.messages.create(model=back, max_tokens=9, messages=[{"role": "user", "content": "REFUSE 400"}])
    with pytest.raises(anthropic.NotFoundError, match="There is no model"):
        ant.messages.create(model="nobody", max_tokens=9, messages=HI)
    with pytest.raises(anthropic.AuthenticationError):
        ant.with_options(api_key="wrong").messages.create(model=back, max_tokens=9, messages=HI)


def test_a_stream_that_breaks_is_raised(ant: anthropic.Anthropic, back: str) -> None:
    """After the first words, never as an end."""
    asked: Any = [{"role": "user", "content": "BREAK"}]
    with (
        pytest.raises(anthropic.APIError),
        ant.messages.stream(model=back, max_tokens=9, messages=asked) as stream,
    ):
        list(stream.text_stream)


async def test_models_are_listed(aant: anthropic.AsyncAnthropic) -> None:
    """In Anthropic's shape, page and all."""
    names = [model.id async for model in aant.models.list()]
    assert {"auto", "chat", "responses", "messages"} <= set(names)
    assert (await aant.models.retrieve("chat")).id == "chat"
