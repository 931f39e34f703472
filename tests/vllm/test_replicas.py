"""Two real vLLMs behind one model: prefixes stay where they are cached, the wait is no longer, and one may die."""

import asyncio
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from real_servers import Server, fetch, gateway_process, vllm_server

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

TALKS, TURNS = 8, 4
ROUNDS = 4
"""Of each. One round of 32 calls finds between 0.62 and 0.68 cached (round robin: 0.44 to 0.51)."""
ROOM = 1.5
"""By how much the slowest calls may be slower than those of a round robin: the machine is shared, and few calls are counted."""


@dataclass
class Pair:
    """Two servers and the gateway before them."""

    servers: tuple[Server, Server]
    gateway: Server


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two replicas, alike in everything; one after the other, for two that start at once may take each other's port."""
    folder = tmp_path_factory.mktemp("replicas")
    with vllm_server(folder / "one.log") as one, vllm_server(folder / "two.log") as two:
        deployments = [
            {"provider": "vllm", "url": url, "name": f"gpu-{number}", "machine_hour": "0.36 USD", "model": "smollm2"}
            for number, url in enumerate((one.url, two.url))
        ]
        config = {"models": {"smollm2": {"deployments": deployments}}}
        with gateway_process(folder / "gateway", config) as gateway:
            yield Pair((one, two), gateway)


@pytest.fixture
async def client(pair: Pair) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, without retries of its own."""
    async with openai.AsyncOpenAI(base_url=pair.gateway.url, api_key="any", max_retries=0, timeout=120) as made:
        yield made


def tokens(server: Server) -> tuple[float, float]:
    """Tokens asked of a server's prefix cache so far, and those that it had."""
    _, body = fetch(f"{server.root}/metrics")
    found = [
        re.search(rb"^vllm:prefix_cache_%s_total\{[^}]*\} ([0-9.e+]+)" % name, body, re.MULTILINE)
        for name in (b"queries", b"hits")
    ]
    queries, hits = (float(one[1]) if one is not None else 0.0 for one in found)
    return queries, hits


def opening(talk: str) -> list[dict[str, Any]]:
    """A conversation that begins like no other, with some 500 tokens."""
    rules = " ".join(f"Rule {number} of {talk}: answer briefly and kindly." for number in range(40))
    return [{"role": "system", "content": rules}, {"role": "user", "content": "Say one word."}]


async def talked(clients: list[openai.AsyncOpenAI], name: str) -> list[float]:
    """Conversations side by side, each a few turns long, each turn at the next client; seconds of each turn."""
    took: list[float] = []
    turns = itertools.cycle(clients)

    async def talk(number: int) -> None:
        messages = opening(f"{name} {number}")
        for _ in range(TURNS):
            start = time.monotonic()
            answer = await next(turns).chat.completions.create(
                model="smollm2", messages=messages, max_tokens=8, temperature=0
            )
            took.append(time.monotonic() - start)
            text = answer.choices[0].message.content or ""
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And another?"}]

    async with asyncio.TaskGroup() as group:
        for number in range(TALKS):
            group.create_task(talk(number))
    return sorted(took)


async def test_prefixes_stay_where_they_are_cached_and_nobody_waits_longer(
    pair: Pair, client: openai.AsyncOpenAI
) -> None:
    """Like conversations, balanced and by a round robin that knows nothing: more tokens are found cached, and the slowest call is no slower."""

    def counted() -> tuple[float, float]:
        queries, hits = zip(*map(tokens, pair.servers), strict=True)
        return sum(queries), sum(hits)

    shares: dict[str, float] = {}
    slowest = {"robin": 0.0, "balanced": 0.0}
    async with (
        openai.AsyncOpenAI(base_url=pair.servers[0].url, api_key="any", max_retries=0, timeout=120) as one,
        openai.AsyncOpenAI(base_url=pair.servers[1].url, api_key="any", max_retries=0, timeout=120) as two,
    ):
        await talked([one, two], "warm")
        for name, clients in (("robin", [one, two]), ("balanced", [client])):
            before = await asyncio.to_thread(counted)
            for number in range(ROUNDS):
                slowest[name] = max(slowest[name], (await talked(clients, f"{name} {number}"))[-1])
            after = await asyncio.to_thread(counted)
            shares[name] = (after[1] - before[1]) / (after[0] - before[0])
    print(json.dumps({"cached": shares, "slowest": slowest}))
    assert shares["balanced"] > shares["robin"] + 0.1
    assert slowest["balanced"] <= slowest["robin"] * ROOM


async def test_one_of_two_may_die_under_load(pair: Pair, client: openai.AsyncOpenAI) -> None:
    """Killed in the middle: every call is answered, by the other one."""
    victim = pair.servers[0]
    assert victim.process is not None
    answered: list[str] = []

    async def ask(number: int) -> None:
        for turn in range(6):
            messages = [{"role": "user", "content": f"{number}/{turn}: say one word."}]
            answer = await client.chat.completions.create(model="smollm2", messages=messages, max_tokens=8)
            answered.append(answer.choices[0].message.content or "")
            if len(answered) == 12:
                victim.process.kill()  # type: ignore[union-attr]

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(ask(number))
    assert len(answered) == 48
    assert victim.process.poll() is not None
