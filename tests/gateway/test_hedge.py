"""Hedging, driven: when a second request is sent, who wins, what becomes of the loser, and how often."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.engine.balance import SOONEST
from fw_policies.model import TokenPrice
from tests.gateway.conftest import Client, config_of, endpoint, running, text_of, until
from tests.gateway.upstream import ROLE, Exchange, Script, Upstream, breaks, listening, ok, silent, stalls, status
from tests.gateway.wires import ANTHROPIC

POLICY = {"baseline": "m", "default": {"allow": ["hedge"]}}
SLACK = 0.25
"""Seconds that a busy machine may add."""


@contextlib.asynccontextmanager
async def pair(
    folder: Path, price: TokenPrice | None = None, **more: Any
) -> AsyncIterator[tuple[Client, Upstream, Upstream]]:
    """Two replicas whose usual time is known, and a group that may be hedged. `price`: they are somebody else's, paid by the token."""
    async with listening() as a, listening() as b:
        endpoints = (endpoint("m", "gpu-0", a.url, **more), endpoint("m", "gpu-1", b.url, **more))
        if price is not None:
            theirs = [replace(one.target, price=price, self_hosted=False) for one in endpoints]
            endpoints = (replace(endpoints[0], target=theirs[0]), replace(endpoints[1], target=theirs[1]))
        async with running(config_of(folder, *endpoints, policies={"p": POLICY})) as client:
            worlds = client.gateway._worlds
            for one in worlds.deployments.values():
                for number in range(40):
                    one.pace.add(0.01, number, stream=True)
                    one.pace.add(0.01, number, stream=False)
            worlds.budget(endpoints[0].target).saved = 1.0
            yield client, a, b


def slow_first(a: Upstream, b: Upstream, script: Script) -> None:
    """Whichever is asked first plays `script`; the other answers."""

    async def played(exchange: Exchange) -> None:
        await (script if len(a.log) + len(b.log) == 1 else ok)(exchange)

    a.scripts["m"] = b.scripts["m"] = played


@pytest.mark.parametrize("stream", [True, False])
async def test_a_quiet_first_is_overtaken_and_ended(tmp_path: Path, stream: bool) -> None:
    """After the usual time a second is asked; its answer is the client's, and within 50 ms the first hears that nobody waits."""
    async with pair(tmp_path) as (client, a, b):
        slow_first(a, b, silent)
        start = time.monotonic()
        code, _, body = await client.chat("auto", fields={"stream": stream}, x_fw_policy="p")
        took = time.monotonic() - start
        assert code == 200
        assert b"Hello" in body
        assert SOONEST <= took < SOONEST + SLACK
        record = await client.recorded()
        first, second = record.attempts
        assert (first.reason, first.outcome, first.error_type) == ("initial", "cancelled", "")
        assert (second.reason, second.outcome, second.follows) == ("hedge", "success", 1)
        assert record.outcome == "hedged"
        assert record.served is second
        assert first.cost is not None
        assert second.cost is not None
        assert record.cost == first.cost + second.cost
        assert second.started < (first.ended or 0)
        [lost] = [one for one in (*a.log, *b.log) if one.gone.is_set() or one.gone_at]
        answered = second.started + (second.first_content or (second.ended or 0) - second.started)
        assert lost.gone_at - answered < 0.05 + SLACK
        assert all(one.busy.count == 0 for one in client.gateway._worlds.deployments.values())


async def test_a_first_that_answers_after_all_wins(tmp_path: Path) -> None:
    """The second is ended; the client has one clean stream, of the first."""

    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(SOONEST + 0.15)
        await ok(exchange)

    async with pair(tmp_path) as (client, a, b):
        first = stalls(ROLE)

        async def played(exchange: Exchange) -> None:
            await (late if len(a.log) + len(b.log) == 1 else first)(exchange)

        a.scripts["m"] = b.scripts["m"] = played
        code, events = await client.stream("auto", x_fw_policy="p")
        assert (code, text_of(events), events[-1]) == (200, "Hello world", "[DONE]")
        record = await client.recorded()
        assert [attempt.outcome for attempt in record.attempts] == ["success", "cancelled"]


async def test_a_loser_that_had_begun_is_charged_by_its_tokens(tmp_path: Path) -> None:
    """What it said of its input before it was ended is on its own row, at its price, and in the sum of the call."""
    price = TokenPrice(1_000_000_000, 2_000_000_000)
    async with pair(tmp_path, price, speaks=("anthropic_messages",)) as (client, a, b):
        begun, whole = stalls(ANTHROPIC[0]), breaks("clean", *ANTHROPIC)

        async def played(exchange: Exchange) -> None:
            await (begun if len(a.log) + len(b.log) == 1 else whole)(exchange)

        a.scripts["m"] = b.scripts["m"] = played
        body = {"model": "auto", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        code, _, said = await client.post("/v1/messages", json.dumps(body).encode(), x_fw_policy="p")
        assert code == 200
        assert b"message_stop" in said
        record = await client.recorded()
        loser, winner = record.attempts
        assert (loser.outcome, winner.outcome) == ("cancelled", "success")
        assert (loser.cost, winner.cost) == (7_000 + 2_000, 7_000 + 3 * 2_000)
        assert record.cost == 15_000 + 7_000


async def test_a_loser_that_begins_without_a_count_is_estimated(tmp_path: Path) -> None:
    """Chat says what was used at its end alone: until then the books have an estimate, flagged as one."""
    async with pair(tmp_path, TokenPrice(1_000_000_000, 2_000_000_000)) as (client, a, b):
        slow_first(a, b, stalls(ROLE))
        assert (await client.chat("auto", fields={"stream": True}, x_fw_policy="p"))[0] == 200
        record = await client.recorded()
        loser = record.attempts[0]
        assert (loser.outcome, loser.cost) == ("cancelled", None)
        assert loser.guess is not None
        assert (loser.guessed_cost or 0) >= 1_000
        assert record.cost is None
        assert record.guessed_cost is not None


async def test_a_second_that_fails_leaves_the_first_open(tmp_path: Path) -> None:
    """Its failure is on its own row; the first is waited for."""

    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(SOONEST + 0.2)
        await ok(exchange)

    async with pair(tmp_path) as (client, a, b):
        broken = status(500)

        async def played(exchange: Exchange) -> None:
            await (late if len(a.log) + len(b.log) == 1 else broken)(exchange)

        a.scripts["m"] = b.scripts["m"] = played
        assert (await client.chat("auto", x_fw_policy="p"))[0] == 200
        record = await client.recorded()
        assert record.attempts[0].outcome == "success"
        assert {attempt.outcome for attempt in record.attempts[1:]} == {"error"}


async def test_when_both_fail_the_client_gets_the_error(tmp_path: Path) -> None:
    """No more than three attempts, and nothing hangs."""

    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(SOONEST + 0.05)
        await status(503)(exchange)

    async with pair(tmp_path) as (client, a, b):
        a.scripts["m"] = b.scripts["m"] = late
        assert (await client.chat("auto", x_fw_policy="p"))[0] == 503
        assert len(a.log) + len(b.log) <= 4


async def test_a_client_that_leaves_ends_both(tmp_path: Path) -> None:
    """Within 200 ms, one record, two cancelled attempts."""
    async with pair(tmp_path) as (client, a, b):
        a.scripts["m"] = b.scripts["m"] = silent
        _, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rsplit(":", 1)[1]))
        body = b'{"model":"auto","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-fw-policy: p\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await until(lambda: len(a.log) + len(b.log) == 2)
        left = time.monotonic()
        writer.close()
        for one in (a.log[0], b.log[0]):
            async with asyncio.timeout(5):
                await one.gone.wait()
            assert one.gone_at - left < 0.2
        record = await client.recorded()
        assert (record.status, record.error_type) == (499, "client_disconnected")
        assert [attempt.outcome for attempt in record.attempts] == ["cancelled", "cancelled"]


async def test_the_deadline_ends_a_race(tmp_path: Path) -> None:
    """504 in time, both connections closed."""
    async with pair(tmp_path) as (client, a, b):
        a.scripts["m"] = b.scripts["m"] = silent
        assert (await client.chat("auto", x_fw_policy="p", x_request_timeout="1.5"))[0] == 504
        for one in (a.log[0], b.log[0]):
            async with asyncio.timeout(5):
                await one.gone.wait()


async def test_hedges_are_few_whatever_happens(tmp_path: Path) -> None:
    """Every call is slow; after the one that was saved up, one in twenty is hedged."""

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(SOONEST + 0.1)
        await ok(exchange)

    async with pair(tmp_path) as (client, a, b):
        a.scripts["m"] = b.scripts["m"] = slow
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                fields = {"stream": True, "messages": [{"role": "user", "content": str(number)}]}
                group.create_task(client.chat("auto", fields=fields, x_fw_policy="p"))
        assert 40 < len(a.log) + len(b.log) <= 43
