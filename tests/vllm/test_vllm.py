"""What only a real vLLM shows: forced tools, its own refusals, its own spans, its own queue; all through the gateway."""

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from real_servers import Collector, Server, fetch, gateway_process, poll, vllm_server

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]

ASK = [{"role": "user", "content": "What is the weather in Oslo?"}]
LONG = [{"role": "user", "content": "Write a very long story about a lighthouse keeper, a storm and a whale."}]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "The weather in a city",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather_now", "weather_tomorrow")
]


def config(*urls: str) -> dict[str, Any]:
    """One model with a deployment at each address; their prices differ, so they are tried in order."""
    deployments = [
        {
            "provider": "vllm",
            "url": url,
            "name": f"gpu-{number}",
            "machine_hour": f"0.3{number} USD",
            "model": "smollm2",
        }
        for number, url in enumerate(urls)
    ]
    capabilities = ["chat", "stream", "tools", "tool_choice", "json_schema", "embeddings"]
    return {"models": {"smollm2": {"capabilities": capabilities, "deployments": deployments}}}


@pytest.fixture(scope="module")
def gateway(vllm: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway before the vLLM of this run."""
    with gateway_process(tmp_path_factory.mktemp("gateway"), config(vllm.url)) as server:
        yield server


@pytest.fixture
async def client(gateway: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, without retries of its own."""
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=90) as made:
        yield made


def running(vllm: Server) -> float:
    """How many requests the engine is working on, by its own count."""
    _, body = fetch(f"{vllm.root}/metrics")
    found = re.search(rb"^vllm:num_requests_running\{[^}]*\} ([0-9.]+)", body, re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_a_required_tool_is_called(client: openai.AsyncOpenAI) -> None:
    """`tool_choice: required` leaves the model no way but one of the tools, with arguments that fit."""
    answer = await client.chat.completions.create(
        model="smollm2", messages=ASK, tools=TOOLS, tool_choice="required", temperature=0, max_tokens=200
    )
    calls = answer.choices[0].message.tool_calls or []
    assert calls
    assert {call.function.name for call in calls} <= {"weather_now", "weather_tomorrow"}
    assert all(json.loads(call.function.arguments)["city"] in {"Oslo", "Rome"} for call in calls)


async def test_a_named_tool_is_called(client: openai.AsyncOpenAI) -> None:
    """A named tool is the one that is called, streaming too: the arguments join to one document."""
    choice = {"type": "function", "function": {"name": "weather_tomorrow"}}
    whole = await client.chat.completions.create(
        model="smollm2", messages=ASK, tools=TOOLS, tool_choice=choice, temperature=0, max_tokens=200
    )
    (call,) = whole.choices[0].message.tool_calls or []
    assert call.function.name == "weather_tomorrow"
    name, arguments = "", ""
    async with await client.chat.completions.create(
        model="smollm2", messages=ASK, tools=TOOLS, tool_choice=choice, temperature=0, max_tokens=200, stream=True
    ) as stream:
        async for chunk in stream:
            for part in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                name = name or (part.function.name or "")
                arguments += part.function.arguments or ""
    assert name == "weather_tomorrow"
    assert json.loads(arguments) == json.loads(call.function.arguments)


def test_embeddings_of_a_model_that_generates_are_vllms_own_404(vllm: Server, gateway: Server) -> None:
    """The refusal comes through unchanged: same status, same body."""
    answers = []
    for url in (vllm.url, gateway.url):
        request = urllib.request.Request(
            f"{url}/embeddings",
            json.dumps({"model": "smollm2", "input": "x"}).encode(),
            {"content-type": "application/json", "authorization": "Bearer any"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        with refused.value as error:
            answers.append((error.code, json.loads(error.read())))
    assert answers[0][0] == 404
    assert answers[0] == answers[1]


async def test_vllms_own_span_is_in_the_callers_trace(client: openai.AsyncOpenAI, collector: Collector) -> None:
    """The trace context travels on to the engine, whose span hangs under the gateway's attempt."""
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    await client.chat.completions.create(
        model="smollm2", messages=ASK, max_tokens=4, extra_headers={"traceparent": f"00-{trace}-{parent}-01"}
    )

    def arrived() -> list[Any]:
        return [span for span in collector.spans if span.trace_id.hex() == trace]

    (span,) = await asyncio.to_thread(poll, arrived, within=30, what="vLLM's span")
    assert span.parent_span_id.hex() not in {"", parent}


async def test_a_client_that_leaves_stops_the_engine(client: openai.AsyncOpenAI, vllm: Server) -> None:
    """Mid-stream: the engine's count of running requests falls to zero long before the answer would have ended."""
    async with await client.chat.completions.create(
        model="smollm2", messages=LONG, stream=True, max_tokens=1800, extra_body={"ignore_eos": True}
    ) as stream:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        assert await asyncio.to_thread(poll, lambda: running(vllm) == 1, within=10, what="a running request")
    await asyncio.to_thread(poll, lambda: running(vllm) == 0, within=10, what="an idle engine")


async def test_a_client_that_leaves_before_the_answer_stops_the_engine(
    client: openai.AsyncOpenAI, vllm: Server
) -> None:
    """Not streaming: leaving cancels the work upstream."""
    async with asyncio.TaskGroup() as group:
        call = group.create_task(
            client.chat.completions.create(
                model="smollm2", messages=LONG, max_tokens=1800, extra_body={"ignore_eos": True}
            )
        )
        await asyncio.to_thread(poll, lambda: running(vllm) == 1, within=30, what="a running request")
        call.cancel()
    await asyncio.to_thread(poll, lambda: running(vllm) == 0, within=10, what="an idle engine")


async def read_and_kill(client: openai.AsyncOpenAI, victim: Server, pieces: list[str]) -> None:
    """Stream a long answer and kill the server once some of it has come."""
    assert victim.process is not None
    async with await client.chat.completions.create(
        model="smollm2", messages=LONG, stream=True, max_tokens=1800, extra_body={"ignore_eos": True}
    ) as stream:
        async for chunk in stream:
            pieces.append((chunk.choices[0].delta.content or "") if chunk.choices else "")
            if len("".join(pieces)) > 20:
                victim.process.kill()


async def test_a_server_that_dies_mid_stream_is_an_error_in_the_stream(vllm: Server, tmp_path: Path) -> None:
    """Killed between chunks: the client is told so in band, never given a false end; the next call falls back."""
    with (
        vllm_server(tmp_path / "victim.log") as victim,
        gateway_process(tmp_path / "gateway", config(victim.url, vllm.url)) as gateway,
    ):
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=60) as client:
            pieces: list[str] = []
            with pytest.raises(openai.APIError) as failure:
                await read_and_kill(client, victim, pieces)
            assert len("".join(pieces)) > 20
            assert not isinstance(failure.value, openai.APITimeoutError)
            answer = await client.chat.completions.create(model="smollm2", messages=ASK, max_tokens=8)
            assert answer.choices[0].message.content
