"""What a vLLM says of itself, without one: figures as text, usage with every event, and when nobody looks."""

import asyncio
import json
import time
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fw_gateway.config import Endpoint
from fw_gateway.providers.dialects.chat.relay import ChatWatcher
from fw_gateway.providers.vllm import NoFigures, Poller, read
from fw_gateway.state import Deployment
from fw_gateway.state.pace import Signals
from tests.gateway.conftest import Client, config_of, endpoint, running, text_of, until
from tests.gateway.upstream import ROLE, STOP, Exchange, Upstream, event

FIGURES = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="smollm2"} 3.0
vllm:num_requests_running{engine="1",model_name="smollm2"} 1.0
vllm:num_requests_waiting{engine="0",model_name="smollm2"} 7.0
vllm:num_requests_waiting{engine="1",model_name="smollm2"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="smollm2"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="smollm2"} 0.875
vllm:prefix_cache_queries_total{engine="0",model_name="smollm2"} 1.2e+03
vllm:prefix_cache_hits_total{engine="0",model_name="smollm2"} 512.0
vllm:num_requests_waiting_by_reason{engine="0"} 9.0
"""


def test_figures_are_read_over_all_engines() -> None:
    """Requests add up, the fullest cache counts, and a metric of a longer name is another one."""
    assert read(FIGURES, 5.0) == Signals(5.0, running=4, waiting=7, kv=0.875, hits=512, queries=1200)


@pytest.mark.parametrize("text", [b"", b"<html>", b"\nvllm:num_requests_running{x} many\n"])
def test_anything_else_is_no_figures(text: bytes) -> None:
    """A page, nothing, or no number."""
    with pytest.raises(NoFigures):
        read(text, 0.0)


def test_reading_is_cheap() -> None:
    """A hundred kilobytes of metrics take less than a millisecond of CPU time."""
    text = FIGURES + b"".join(b'vllm:other_bucket{engine="0",le="%d"} 1.0\n' % number for number in range(2500))
    start = time.thread_time()
    for _ in range(50):
        read(text, 0.0)
    assert (time.thread_time() - start) / 50 < 1e-3


class Server:
    """Answers to looks, in order; the last one for ever."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.looks = 0

    async def get(self, _endpoint: Endpoint, path: str, _seconds: float) -> bytes:
        assert path == "/metrics"
        self.looks += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found


async def looked(server: Server, deployment: Deployment, looks: int) -> Signals | None:
    """What is known after so many looks."""
    poller = Poller([endpoint("m", "gpu-0", "http://x/v1")], {"m@gpu-0": deployment}, server.get, period=0.005)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(poller.work())
        await until(lambda: server.looks > looks)
        task.cancel()
    return deployment.pace.signals


async def test_signals_are_kept_fresh_while_there_is_traffic() -> None:
    """Each look replaces what was known; a slow answer leaves it; a server that is gone is known to be."""
    deployment = Deployment()
    deployment.busy.enter(time.monotonic())
    found = await looked(Server(FIGURES), deployment, 2)
    assert found is not None
    assert found.waiting == 7
    assert await looked(Server(TimeoutError()), deployment, 1) == found
    gone = await looked(Server(aiohttp.ClientConnectionError()), deployment, 1)
    assert gone is not None
    assert not gone.up


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 0), (0, 2)])
async def test_calls_that_come_or_go_during_a_look_are_ones_own(before: int, after: int) -> None:
    """The most that there were of them is known with the figures."""
    deployment = Deployment()
    deployment.busy.enter(time.monotonic())

    class Slow(Server):
        async def get(self, endpoint: Endpoint, path: str, seconds: float) -> bytes:
            deployment.busy.count = after
            asyncio.get_running_loop().call_soon(setattr, deployment.busy, "count", before)
            return await super().get(endpoint, path, seconds)

    deployment.busy.count = before
    found = await looked(Slow(FIGURES), deployment, 1)
    assert found is not None
    assert found.mine == 2


async def test_a_server_without_figures_is_left_alone() -> None:
    """One look; the next one only a minute later. It is not held against it."""
    for answer in (b"", aiohttp.ClientConnectionError(), TimeoutError()):
        server, deployment = Server(answer), Deployment()
        deployment.busy.enter(time.monotonic())
        poller = Poller([endpoint("m", "gpu-0", "http://x/v1")], {"m@gpu-0": deployment}, server.get, period=0.001)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(poller.work())
            await until(lambda server=server: server.looks)
            await asyncio.sleep(0.05)
            task.cancel()
        assert server.looks == 1
        assert deployment.pace.signals is None


async def test_nobody_looks_where_there_are_no_calls() -> None:
    """A server that was never asked, or not for a minute, is not looked at."""
    server, deployment = Server(FIGURES), Deployment()
    poller = Poller([endpoint("m", "gpu-0", "http://x/v1")], {"m@gpu-0": deployment}, server.get, period=0.001)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(poller.work())
        await asyncio.sleep(0.05)
        task.cancel()
    assert server.looks == 0


def word(text: str, count: int) -> bytes:
    """A chunk as vLLM writes it when it is asked for running usage."""
    chunk = {
        "id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}],
        "usage": {"prompt_tokens": 7, "total_tokens": 7 + count, "completion_tokens": count},
    }  # fmt: skip
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


@given(st.lists(st.text(), min_size=1, max_size=5), st.data())
def test_running_usage_is_read_and_cut_out(texts: list[str], data: st.DataObject) -> None:
    """However the bytes come, and whatever the words are: the client sees none of it, and every word."""
    texts = ["begin", *texts, ',"usage":{"completion_tokens":9}']
    raw = ROLE + b"".join(word(text, number + 1) for number, text in enumerate(texts))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    watcher = ChatWatcher(hide_usage=True, running=True)
    out = b"".join(watcher.feed(raw[a:b]) for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True))
    chunks = [json.loads(line[6:]) for line in out.decode().split("\n\n") if line]
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["", *texts]
    assert not any("usage" in chunk for chunk in chunks)
    assert watcher.usage is not None
    assert watcher.usage.output_tokens == len(texts)
    watcher.feed(STOP + event(None, usage={"prompt_tokens": 7, "completion_tokens": 99}))
    assert watcher.usage.output_tokens == 99


async def test_a_stream_that_its_reader_leaves_is_charged_for_what_it_used(client: Client, upstream: Upstream) -> None:
    """Three words came: seven tokens in, three out, and not an estimate."""

    async def script(exchange: Exchange) -> None:
        await exchange.events(ROLE, word("one", 1), word(" two", 2), word(" three", 3))
        await exchange.gone.wait()

    upstream.scripts["one"] = script
    reader, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rsplit(":", 1)[1]))
    body = b'{"model":"one","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    seen = await reader.readuntil(b"three")
    writer.close()
    assert b"usage" not in seen
    attempt = (await client.recorded()).attempts[0]
    assert attempt.usage is not None
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (7, 3)
    assert attempt.outcome == "cancelled"


async def test_a_client_that_asks_for_usage_gets_it_as_it_comes(upstream: Upstream, tmp_path: Path) -> None:
    """Nothing is added to what it asked for, and nothing is cut out."""

    async def script(exchange: Exchange) -> None:
        await exchange.events(ROLE, word("one", 1), STOP, b"data: [DONE]\n\n", b"")

    upstream.scripts["one"] = script
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url))) as client:
        _, events = await client.stream("one", fields={"stream_options": {"include_usage": True}})
        assert upstream.log[-1].fields["stream_options"] == {"include_usage": True}
        assert "usage" in "".join(events)
        assert text_of(events) == "one"


@pytest.mark.parametrize(("word_said", "number"), [("high", -1), ("normal", None), ("low", 1)])
async def test_a_policys_priority_reaches_an_engine_that_knows_what_it_is(
    upstream: Upstream, tmp_path: Path, word_said: str, number: int | None
) -> None:
    """Lower goes first. Others refuse the field, so they are not sent it; what a caller says itself stays."""
    policies = {"p": {"baseline": "m", "default": {"priority": word_said}}}
    for knows in (True, False):
        config = config_of(tmp_path / str(knows), endpoint("m", "a", upstream.url, priority=knows), policies=policies)
        async with running(config) as client:
            assert (await client.chat("auto", x_fw_policy="p"))[0] == 200
            assert upstream.log[-1].fields.get("priority") == (number if knows else None)
            assert (await client.chat("auto", fields={"priority": 7}, x_fw_policy="p"))[0] == 200
            assert upstream.log[-1].fields["priority"] == 7


async def test_what_is_left_of_the_time_is_passed_on(client: Client, upstream: Upstream) -> None:
    """To servers of one's own: a little less than the client allowed, so that a refusal comes back in time."""
    await client.chat("one", x_request_timeout="5")
    assert 4 < float(upstream.log[-1].headers["x-request-timeout"]) <= 4.95


@pytest.mark.parametrize("route", ["/v1/messages", "/v1/responses"])
async def test_a_translated_stream_that_its_reader_leaves_is_charged_as_exactly(
    client: Client, upstream: Upstream, route: str
) -> None:
    """Asked for in another protocol, it is counted with every event all the same, and the counts are not told."""

    async def script(exchange: Exchange) -> None:
        await exchange.events(ROLE, word("one", 1), word(" two", 2), word(" three", 3))
        await exchange.gone.wait()

    upstream.scripts["one"] = script
    reader, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rsplit(":", 1)[1]))
    said = (
        b'"max_tokens":9,"messages":[{"role":"user","content":"Hi"}]' if route.endswith("messages") else b'"input":"Hi"'
    )
    body = b'{"model":"one","stream":true,' + said + b"}"
    writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (route.encode(), len(body), body))
    await reader.readuntil(b" three")
    writer.close()
    wanted = {"include_usage": True, "continuous_usage_stats": True}
    assert upstream.log[-1].fields["stream_options"] == wanted
    attempt = (await client.recorded()).attempts[0]
    assert attempt.usage is not None
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (7, 3)
    assert attempt.outcome == "cancelled"
