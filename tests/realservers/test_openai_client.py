"""The official `openai` client against real servers: straight, and through the gateway. llama.cpp in the normal run, vLLM under its marker."""

import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest
from real_servers import Server, gateway_process

SAY = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome", "Oslo"]}, "capital": {"type": "boolean"}},
    "required": ["city", "capital"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
STEADY = {"temperature": 0, "max_tokens": 24}
KINDS = ["llamacpp", pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.timeout(300)])]


@pytest.fixture(scope="module", params=KINDS)
def upstream(request: pytest.FixtureRequest) -> Server:
    """The real server itself."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module", params=["straight", "gateway"])
def server(
    request: pytest.FixtureRequest, upstream: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """What the client speaks to."""
    if request.param == "straight":
        yield upstream
        return
    entry = {"provider": upstream.kind, "url": upstream.url, "model": upstream.model, "machine_hour": "0.36 USD"}
    environment = {}
    if upstream.key:
        entry["key_env"] = "UPSTREAM_KEY"
        environment["UPSTREAM_KEY"] = upstream.key
    config = {"models": {"smollm2": {"deployments": [entry]}}}
    with gateway_process(tmp_path_factory.mktemp("gateway"), config, **environment) as gateway:
        yield Server("gateway", gateway.url, "any", "smollm2", gateway.log)


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    """The synchronous client, without retries of its own: a failure must show."""
    with openai.OpenAI(base_url=server.url, api_key=server.key or "none", max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture
async def aclient(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous client."""
    async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key or "none", max_retries=0, timeout=60) as made:
        yield made


def test_chat_answers_and_counts_its_tokens(client: openai.OpenAI, server: Server) -> None:
    """A plain call returns text, a finish reason and a usage that adds up."""
    answer = client.chat.completions.create(model=server.model, messages=SAY, **STEADY)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 10
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == answer.usage.total_tokens


async def test_the_async_client_gets_the_same_answer(
    aclient: openai.AsyncOpenAI, client: openai.OpenAI, server: Server
) -> None:
    """Two clients, one server, temperature 0: one text."""
    answer = await aclient.chat.completions.create(model=server.model, messages=SAY, **STEADY)
    assert "Paris" in (answer.choices[0].message.content or "")


def test_a_stream_ends_with_the_usage_that_was_asked_for(client: openai.OpenAI, server: Server) -> None:
    """Pieces come one by one; the last chunk has no choice and carries the usage."""
    with client.chat.completions.create(
        model=server.model, messages=SAY, stream=True, stream_options={"include_usage": True}, **STEADY
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text
    assert len([chunk for chunk in chunks if chunk.choices]) > 3
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 3


def test_a_stream_without_that_wish_carries_no_usage_chunk(client: openai.OpenAI, server: Server) -> None:
    """What the gateway asks the upstream for its own accounts does not reach a client that did not ask."""
    with client.chat.completions.create(model=server.model, messages=SAY, stream=True, **STEADY) as stream:
        chunks = list(stream)
    assert [chunk for chunk in chunks if chunk.usage is not None and not chunk.choices] == []
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in {"stop", "length"}


async def test_the_async_client_streams(aclient: openai.AsyncOpenAI, server: Server) -> None:
    """The same stream through the other client."""
    text = ""
    async with await aclient.chat.completions.create(model=server.model, messages=SAY, stream=True, **STEADY) as stream:
        async for chunk in stream:
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    assert "Paris" in text


def test_a_json_schema_is_kept(client: openai.OpenAI, server: Server) -> None:
    """`response_format` reaches the engine, which cannot produce anything else."""
    answer = client.chat.completions.create(
        model=server.model, messages=SAY, response_format=FORMAT, temperature=0, max_tokens=60
    )
    value = json.loads(answer.choices[0].message.content or "")
    assert value.keys() == {"city", "capital"}
    assert value["city"] in SCHEMA["properties"]["city"]["enum"]  # type: ignore[index]


def test_a_json_schema_is_kept_in_a_stream(client: openai.OpenAI, server: Server) -> None:
    """The pieces of a stream join to the same document."""
    pieces: list[str] = []
    with client.chat.completions.create(
        model=server.model, messages=SAY, response_format=FORMAT, temperature=0, max_tokens=60, stream=True
    ) as stream:
        pieces.extend(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert json.loads("".join(pieces)).keys() == {"city", "capital"}


def test_fields_that_nobody_here_knows_reach_the_engine(client: openai.OpenAI, server: Server) -> None:
    """`top_k` and `min_p` are not OpenAI's; both engines take them, and refuse them when they are nonsense."""
    answer = client.chat.completions.create(
        model=server.model, messages=SAY, extra_body={"top_k": 1, "min_p": 0.1}, max_tokens=8
    )
    assert answer.choices[0].message.content


def test_the_models_are_listed(client: openai.OpenAI, server: Server) -> None:
    """The name that is asked for is in the list."""
    assert server.model in {model.id for model in client.models.list()}


def test_a_request_that_is_wrong_is_the_clients_error(client: openai.OpenAI, server: Server) -> None:
    """Messages of the wrong type are a 400 in OpenAI's shape, not a server error."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=server.model, messages="hello")  # type: ignore[call-overload]
    assert refused.value.status_code == 400
    assert refused.value.body


@pytest.fixture(scope="module", params=["straight", "gateway"])
def embedder(
    request: pytest.FixtureRequest, llamacpp_embeddings: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The server, or a gateway before it."""
    with ExitStack() as stack:
        if request.param == "straight":
            yield llamacpp_embeddings
            return
        entry = {
            "provider": "llamacpp",
            "url": llamacpp_embeddings.url,
            "model": "smollm2",
            "key_env": "UPSTREAM_KEY",
        }
        config: dict[str, Any] = {
            "models": {"smollm2": {"capabilities": ["embeddings", "chat", "stream"], "deployments": [entry]}}
        }
        folder = tmp_path_factory.mktemp("embeddings")
        gateway = stack.enter_context(gateway_process(folder, config, UPSTREAM_KEY=llamacpp_embeddings.key))
        yield Server("gateway", gateway.url, "any", "smollm2", gateway.log)


def test_texts_of_one_meaning_are_nearer_than_others(embedder: Server) -> None:
    """Three vectors of one length; the two about cats are nearest."""
    texts = ["A cat sleeps on the sofa.", "The cat is sleeping on a couch.", "Interest rates rose by one percent."]
    with openai.OpenAI(base_url=embedder.url, api_key=embedder.key, max_retries=0, timeout=60) as client:
        answer = client.embeddings.create(model="smollm2", input=texts, encoding_format="float")
    first, second, third = (item.embedding for item in answer.data)
    assert len(first) == len(second) == len(third) == 576
    assert _cosine(first, second) > _cosine(first, third)
    assert answer.usage.prompt_tokens > 15


def _cosine(one: list[float], other: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))
