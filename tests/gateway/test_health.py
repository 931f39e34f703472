"""What self-hosted servers say of themselves: `/health` keeps calls away from one that cannot serve, figures are shown in `/metrics`."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from fw_gateway.config import Endpoint
from fw_gateway.providers.vllm import Poller
from fw_gateway.state import Deployment
from fw_gateway.state.balance import prefix
from fw_gateway.state.pace import Signals
from tests.gateway.conftest import config_of, endpoint, running, until
from tests.gateway.upstream import Upstream, listening


async def nothing(_endpoint: Endpoint, _path: str, _seconds: float) -> bytes:
    """A server without figures."""
    return b""


async def asked(answers: Sequence[int | Exception], deployment: Deployment) -> bool:
    """Whether a deployment passes for well when its server has answered so; the last answer is the one for ever."""
    left, count = list(answers), 0

    async def health(_endpoint: Endpoint, _seconds: float) -> int:
        nonlocal count
        count += 1
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    places = [endpoint("m", "gpu-0", "http://x/v1")]
    poller = Poller(places, {"m@gpu-0": deployment}, nothing, health, period=0.002)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(poller.work())
        await until(lambda: count >= len(answers))
        await asyncio.sleep(0.01)
        task.cancel()
    return deployment.pace.well


GONE = aiohttp.ClientConnectionError()


@pytest.mark.parametrize(
    ("answers", "well"),
    [
        ([200], True),
        ([503], False),
        ([200, GONE], False),
        ([503, TimeoutError(), 200], True),
        ([503, TimeoutError()], False),
        ([200, TimeoutError()], True),
        ([404], True),
        ([503, 404], True),
        ([200, GONE, 401], True),
    ],
)
async def test_a_server_is_as_well_as_it_says(answers: list[int | Exception], well: bool) -> None:
    """An answer of 500 or more, or none where there was one, is bad news; slowness and a page that is missing are no news."""
    deployment = Deployment()
    deployment.busy.enter(time.monotonic())
    assert await asked(answers, deployment) is well


async def test_one_that_is_not_well_is_asked_until_it_is() -> None:
    """Nobody calls it meanwhile."""
    deployment = Deployment()
    deployment.pace.well = False
    assert await asked([200], deployment)


async def test_a_sick_replica_gets_no_calls_while_another_is_well(tmp_path: Path) -> None:
    """All go to the other one; when both are sick, they are served all the same."""
    async with listening() as a, listening() as b:
        places = (endpoint("m", "gpu-0", a.url), endpoint("m", "gpu-1", b.url))
        async with running(config_of(tmp_path, *places)) as client:
            worlds = client.gateway._worlds.deployments
            worlds["m@gpu-0"].pace.well = False
            for _ in range(20):
                assert (await client.chat("m"))[0] == 200
            assert (len(calls(a)), len(calls(b))) == (0, 20)
            worlds["m@gpu-1"].pace.well = False
            for _ in range(20):
                assert (await client.chat("m"))[0] == 200
            assert len(calls(a)) + len(calls(b)) == 40
            page = (await (await client.session.get(f"{client.url}/metrics")).text()).splitlines()
    assert 'fw_deployment_health{fw_attempt_deployment="m@gpu-0"} 0.0' in page


def calls(upstream: Upstream) -> list[str]:
    """What an upstream was asked that was a call."""
    return [one.path for one in upstream.log if one.path.endswith("/chat/completions")]


async def test_figures_of_engines_are_shown(upstream: Upstream, tmp_path: Path) -> None:
    """While they are new: how long the queue is, how full the cache, and what was found in it."""
    async with running(config_of(tmp_path, endpoint("m", "gpu-0", upstream.url))) as client:
        pace = client.gateway._worlds.deployments["m@gpu-0"].pace
        figures = Signals(time.monotonic(), running=4, waiting=7, kv=0.875, hits=512, queries=1200)
        for signals, shown in ((figures, True), (None, False), (Signals(time.monotonic() - 60, waiting=7), False)):
            pace.signals = signals
            page = await (await client.session.get(f"{client.url}/metrics")).text()
            lines = (
                'fw_queue_depth{fw_attempt_deployment="m@gpu-0"} 7',
                'fw_deployment_kv_cache_usage{fw_attempt_deployment="m@gpu-0"} 0.875',
                'fw_deployment_prefix_cache_hits{fw_attempt_deployment="m@gpu-0"} 512',
                'fw_deployment_prefix_cache_queries{fw_attempt_deployment="m@gpu-0"} 1200',
            )
            assert [line in page for line in lines] == [shown] * 4


def test_a_conversation_begins_alike_in_every_protocol() -> None:
    """What the system says and what the user first said, wherever they stand; a later turn changes nothing."""
    chat = {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Hi"}]}
    same = [
        {"system": "be brief", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {"instructions": "be brief", "input": "Hi"},
        {"instructions": "be brief", "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
        {"input": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Hi"}]},
        {"input": [*chat["messages"], {"type": "message", "role": "assistant", "content": "Hello"}]},
    ]
    found = {prefix(fields, "input" if "input" in fields else "messages") for fields in same}
    assert found == {prefix(chat)} == {b"be brief\nHi"}
    assert prefix({"input": "Hi"}, "input") != prefix({"instructions": "other", "input": "Hi"}, "input")
    assert prefix({"input": [["no item"]], "instructions": 3}, "input") == b""


async def test_turns_of_a_conversation_of_responses_go_where_its_beginning_is_cached(tmp_path: Path) -> None:
    """Every one to the same replica."""
    async with listening() as a, listening() as b, listening() as c:
        places = tuple(endpoint("m", f"gpu-{n}", one.url) for n, one in enumerate((a, b, c)))
        async with running(config_of(tmp_path, *places)) as client:
            turns: list[dict[str, str]] = [{"role": "user", "content": "Hi"}]
            for _ in range(12):
                body = {"model": "m", "instructions": "be brief", "input": turns}
                assert (await client.post("/v1/responses", json.dumps(body).encode()))[0] == 200
                turns += [{"role": "assistant", "content": "Hello"}, {"role": "user", "content": "And?"}]
            assert sorted(len(calls(one)) for one in (a, b, c)) == [0, 0, 12]
