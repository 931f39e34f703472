"""The official OpenAI client, unmodified, before every protocol: chat, Responses, tools, schemas, pictures, errors; sync, async, streaming."""

import json
from typing import Any

import openai
import pydantic
import pytest

from tests.clients.upstream import Upstream

HI: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Look out", "parameters": SCHEMA, "strict": True},
}
FLAT: Any = {"type": "function", "name": "weather", "description": "Look out", "parameters": SCHEMA, "strict": True}
ASK: list[Any] = [{"role": "user", "content": "weather in Oslo and Rome"}]


class City(pydantic.BaseModel):
    """What is asked for by schema."""

    city: str
    people: int


def test_chat_answers_with_text_and_usage(oai: openai.OpenAI, upstream: Upstream, back: str) -> None:
    """The words, why they ended, what was read and written, what the gateway adds."""
    raw = oai.chat.completions.with_raw_response.create(model=back, messages=HI, max_tokens=50)
    answer = raw.parse()
    assert answer.choices[0].message.content == "Hello from here"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (9, 4, 13)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 2
    assert raw.headers["x-fw-model"] == back
    assert "x-fw-lost" not in raw.headers
    assert "Be brief." in json.dumps(upstream.last)
    assert 50 in upstream.last.values()


async def test_chat_streams(aoai: openai.AsyncOpenAI, back: str) -> None:
    """Pieces in order, and the usage that was asked for, once."""
    stream = await aoai.chat.completions.create(
        model=back, messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello from here"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    bills = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert [(bill.prompt_tokens, bill.completion_tokens) for bill in bills] == [(9, 4)]


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_calls_two_tools_and_takes_their_results(
    oai: openai.OpenAI, upstream: Upstream, back: str, streamed: bool
) -> None:
    """Both calls arrive whole; their results reach the upstream under the same ids, in order."""
    asked: dict[str, Any] = {"model": back, "messages": ASK, "tools": [TOOL], "parallel_tool_calls": True}
    if streamed:
        with oai.chat.completions.stream(**asked) as stream:
            message = stream.get_final_completion().choices[0].message
    else:
        message = oai.chat.completions.create(**asked).choices[0].message
    calls = message.tool_calls
    assert calls is not None
    assert [(c.id, c.function.name, json.loads(c.function.arguments)) for c in calls] == [
        ("call_0", "weather", {"city": "Oslo"}),
        ("call_1", "weather", {"city": "Rome"}),
    ]
    assert "Look out" in json.dumps(upstream.last["tools"])
    turns = [{"role": "assistant", "tool_calls": [call.model_dump(exclude_none=True) for call in calls]}]
    turns += [{"role": "tool", "tool_call_id": call.id, "content": f"rain {i}"} for i, call in enumerate(calls)]
    answer = oai.chat.completions.create(**{**asked, "messages": [*ASK, *turns]})
    assert answer.choices[0].message.content == "Hello from here"
    sent = json.dumps(upstream.last)
    assert sent.index("rain 0") < sent.index("rain 1")
    assert sent.count("call_0") == sent.count("call_1") == 2


def test_chat_takes_a_schema(oai: openai.OpenAI, upstream: Upstream, back: str) -> None:
    """`parse` gives the object; the schema reached the upstream."""
    found = oai.chat.completions.parse(model=back, messages=HI, response_format=City).choices[0].message.parsed
    assert found == City(city="Paris", people=2)
    assert '"people"' in json.dumps(upstream.last)


def test_chat_shows_a_picture(oai: openai.OpenAI, upstream: Upstream, back: str) -> None:
    """The bytes arrive."""
    parts: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    oai.chat.completions.create(model=back, messages=[{"role": "user", "content": parts}])
    assert PIXEL in json.dumps(upstream.last)


def test_responses_answer_with_text_and_usage(oai: openai.OpenAI, upstream: Upstream, back: str) -> None:
    """The same through the other protocol of OpenAI."""
    answer = oai.responses.create(model=back, input="Hi", instructions="Be brief.", max_output_tokens=50)
    assert answer.output_text == "Hello from here"
    assert answer.status == "completed"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 4)
    assert answer.usage.input_tokens_details.cached_tokens == 2
    assert "Be brief." in json.dumps(upstream.last)


async def test_responses_stream(aoai: openai.AsyncOpenAI, back: str) -> None:
    """Every event that the client knows, in order, and the whole response at the end."""
    kinds, words = [], ""
    async with aoai.responses.stream(model=back, input="Hi") as stream:
        async for event in stream:
            kinds.append(event.type)
            words += event.delta if event.type == "response.output_text.delta" else ""
        final = await stream.get_final_response()
    assert words == final.output_text == "Hello from here"
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.usage is not None


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_call_tools(oai: openai.OpenAI, upstream: Upstream, back: str, streamed: bool) -> None:
    """Calls come as items; their outputs go back by `call_id`."""
    asked: dict[str, Any] = {"model": back, "input": "weather in Oslo and Rome", "tools": [FLAT]}
    if streamed:
        with oai.responses.stream(**asked) as stream:
            answer: Any = stream.get_final_response()
    else:
        answer = oai.responses.create(**asked)
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [(c.call_id, c.name, json.loads(c.arguments)) for c in calls] == [
        ("call_0", "weather", {"city": "Oslo"}),
        ("call_1", "weather", {"city": "Rome"}),
    ]
    turns: list[Any] = [{"role": "user", "content": "weather in Oslo and Rome"}]
    turns += [{"type": "function_call", "call_id": c.call_id, "name": c.name, "arguments": c.arguments} for c in calls]
    turns += [
        {"type": "function_call_output", "call_id": c.call_id, "output": f"rain {i}"} for i, c in enumerate(calls)
    ]
    assert oai.responses.create(**{**asked, "input": turns}).output_text == "Hello from here"
    assert "rain 1" in json.dumps(upstream.last)


def test_responses_take_a_schema_and_a_picture(oai: openai.OpenAI, upstream: Upstream, back: str) -> None:
    """`parse` gives the object; the bytes of the picture arrive."""
    parts: Any = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
    ]
    answer = oai.responses.parse(model=back, input=[{"role": "user", "content": parts}], text_format=City)
    assert answer.output_parsed == City(city="Paris", people=2)
    assert PIXEL in json.dumps(upstream.last)


def test_refusals_are_raised_by_their_names(oai: openai.OpenAI, back: str) -> None:
    """Status and message of the upstream, whichever protocol it said them in."""
    with pytest.raises(openai.RateLimitError, match="told to"):
        oai.chat.completions.create(model=back, messages=[{"role": "user", "content": "REFUSE 429"}])
    with pytest.raises(openai.BadRequestError, match="told to"):
        oai.responses.create(model=back, input="REFUSE 400")
    with pytest.raises(openai.NotFoundError, match="There is no model"):
        oai.chat.completions.create(model="nobody", messages=HI)


def test_a_stream_that_breaks_is_raised(oai: openai.OpenAI, back: str) -> None:
    """After the first words, never as an end."""
    asked: Any = [{"role": "user", "content": "BREAK"}]
    with oai.chat.completions.create(model=back, messages=asked, stream=True) as stream, pytest.raises(openai.APIError):
        list(stream)
    with oai.responses.create(model=back, input="BREAK", stream=True) as events:
        kinds = [event.type for event in events]
    assert kinds[-1] == "response.failed"


async def test_embeddings_and_models(aoai: openai.AsyncOpenAI) -> None:
    """Vectors as base64 or numbers, models by list and by name."""
    found = await aoai.embeddings.create(model="chat", input="Hi", encoding_format="float")
    assert found.data[0].embedding == [0.25, -0.5]
    names = [model.id async for model in aoai.models.list()]
    assert {"auto", "chat", "responses", "messages"} <= set(names)
    assert (await aoai.models.retrieve("chat")).id == "chat"
