"""Bulkheads: so many calls at once, a short queue, a quick no; and a limit that is found out by how quickly answers begin."""

import asyncio
import json
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest

from fw_gateway import clock
from fw_gateway.config import reader
from fw_gateway.engine.gate import LONG, MEMORY, OVERDUE, QUEUE, STALE, Gate
from fw_gateway.state import Deployment
from fw_gateway.state.health import CLOSED
from fw_gateway.state.limit import DOWN, LEAST, SAMPLES, START, Limit
from tests.gateway.conftest import Client, config_of, endpoint, running, until
from tests.gateway.upstream import Exchange, Upstream, completion, listening


def told(limit: Limit, seconds: float, spans: int, *, count: int, idle: bool = False, at: float = 0.0) -> float:
    """So many spans of answers that all begin after so many seconds; when they are over."""
    for span in range(spans):
        for number in range(SAMPLES):
            limit.observe(seconds, at + span + number / (SAMPLES - 1), count=count, idle=idle)
    return at + spans


def test_a_limit_that_is_configured_for_others_machines_is_what_it_is() -> None:
    """Nothing is found out about a provider."""
    limit = Limit(100)
    told(limit, 9.0, 5, count=100)
    assert limit.value == 100


def test_a_limit_is_doubled_until_answers_are_late_then_feels_its_way() -> None:
    """From 32 up to what is configured; a tenth down at each late span, one up at each good one; never below four."""
    limit = Limit(1000, adaptive=True)
    assert limit.value == START
    now = told(limit, 0.1, 3, count=1000)
    assert limit.value == 8 * START
    now = told(limit, 0.25, 1, count=1000, at=now)
    assert limit.value == int(8 * START * DOWN)
    now = told(limit, 0.1, 2, count=1000, at=now)
    assert limit.value == int(8 * START * DOWN) + 2
    for _ in range(60):
        limit.least = 0.1
        now = told(limit, 5.0, 1, count=1000, at=now)
    assert limit.value == LEAST


def test_a_limit_that_is_not_used_is_not_raised() -> None:
    """Ten calls at once say nothing about a hundred."""
    limit = Limit(1000, adaptive=True)
    told(limit, 0.1, 5, count=10)
    assert limit.value == START


def test_late_answers_of_an_engine_without_a_queue_are_long_prompts() -> None:
    """It says itself that nobody waits: nothing is lowered."""
    limit = Limit(1000, adaptive=True)
    now = told(limit, 0.1, 1, count=START)
    before = limit.value
    told(limit, 0.9, 3, count=10, idle=True, at=now)
    assert limit.value >= before


async def in_time(entering: Awaitable[bool]) -> tuple[bool, float]:
    """Whether it was let in, and after how many seconds."""
    start = time.monotonic()
    found = await entering
    return found, time.monotonic() - start


async def test_a_gate_lets_in_as_many_as_it_may_and_the_next_when_one_leaves() -> None:
    """In order, as long as the queue is young; the count never passes the limit."""
    deployment = Deployment()
    gate, order = Gate(Limit(1), deployment), []
    assert await gate.enter(5)
    mark = deployment.busy.enter(0)

    async def next_one(number: int) -> None:
        assert await gate.enter(5)
        order.append(number)
        assert deployment.busy.count == 0
        mark = deployment.busy.enter(0)
        await asyncio.sleep(0)
        deployment.busy.leave(mark, 0)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(next_one(number)) for number in range(2)]
        await asyncio.sleep(0)
        deployment.busy.leave(mark, 0)
    assert all(task.done() for task in tasks)
    assert order == [0, 1]
    assert deployment.busy.freed is None


async def test_a_gate_says_no_at_once_when_its_queue_is_full() -> None:
    """Twice the limit may wait; whoever left its place gives it up."""
    deployment = Deployment()
    gate = Gate(Limit(1), deployment)
    deployment.busy.enter(0)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(gate.enter(5)) for _ in range(QUEUE)]
        await asyncio.sleep(0)
        found, took = await in_time(gate.enter(5))
        assert not found
        assert took < 0.05
        waiting[0].cancel()
        await asyncio.sleep(0)
        again = group.create_task(gate.enter(0.05))
        assert (await again) is False
        assert await waiting[1] is False


async def test_nobody_is_let_wait_where_no_turn_can_be_foreseen() -> None:
    """Nothing has ended since the queue began: who comes then is refused at once; who waits is not asked to for longer than a second."""
    deployment = Deployment()
    gate = Gate(Limit(2), deployment)
    marks = [deployment.busy.enter(0), deployment.busy.enter(0)]
    async with asyncio.TaskGroup() as group:
        first = group.create_task(in_time(gate.enter(9)))
        await asyncio.sleep(LONG * 0.9)
        found, took = await in_time(gate.enter(9))
        assert not found
        assert took < 0.05
    found, took = first.result()
    assert not found
    assert LONG * 0.9 < took < LONG + 0.3
    for mark in marks:
        deployment.busy.leave(mark, 0)
    assert await gate.enter(9)


async def test_a_slow_spell_is_not_held_against_a_deployment_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals teach nothing of its pace: what was learnt before them grows stale, however often calls are refused meanwhile."""
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    deployment = Deployment()
    gate = Gate(Limit(1), deployment)
    deployment.busy.enter(0)
    gate._seconds, gate._left, gate._known = MEMORY, 0.0, now
    refused = 0
    while now < 1000.0 + STALE:
        refused += not await gate.enter(0.01)
        now += 0.5
    assert refused == 10
    now += 0.5
    waiting = asyncio.ensure_future(gate.enter(5))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.parametrize(("pace", "calm", "pressed"), [(1, 0, 0), (4, 2, 1), (40, 20, 4), (10_000, 64, 64)])
def test_as_many_may_wait_as_have_their_turn_in_time(pace: float, calm: int, pressed: int) -> None:
    """By what ended in a second while there was a queue: half a second's worth, a tenth once it does not go away, twice the limit at most."""
    gate = Gate(Limit(32), Deployment())
    now = gate._since
    gate._seconds, gate._left = 1.0, pace - 1
    assert (gate._room(now, pressed=False), gate._room(now, pressed=True)) == (calm, pressed)


def test_a_pace_of_long_ago_counts_for_little() -> None:
    """A queue that never goes away is known by its last seconds."""
    gate = Gate(Limit(32), Deployment())
    gate._seconds, gate._left = 1000.0, 100_000.0
    gate._count(gate._since)
    assert (gate._seconds, gate._left) == (MEMORY / 2, 100 * MEMORY / 2)


async def test_whoever_waits_goes_in_by_turn_until_the_pace_was_misjudged() -> None:
    """The first that came; when it has waited for much longer than was foreseen, under pressure, the last."""
    deployment, now = Deployment(), time.monotonic()
    gate, order = Gate(Limit(1), deployment), []
    mark = deployment.busy.enter(0)
    gate._seconds, gate._left = 1.0, 100.0

    async def waits(number: int) -> None:
        if await gate.enter(5):
            order.append(number)
            deployment.busy.leave(deployment.busy.enter(0), 0)

    async with asyncio.TaskGroup() as group:
        for number in range(QUEUE):
            group.create_task(waits(number))
        await asyncio.sleep(0)
        deployment.busy.leave(mark, 0)
    assert order == [0, 1]
    mark = deployment.busy.enter(0)
    async with asyncio.TaskGroup() as group:
        for number in range(QUEUE):
            group.create_task(waits(number))
        await asyncio.sleep(0)
        gate._empty = now - 2 * LONG
        gate._waiting[0] = (gate._waiting[0][0], now - 2 * OVERDUE)
        deployment.busy.leave(mark, 0)
    assert order == [0, 1, 1, 0]


async def test_at_thrice_what_it_can_do_a_deployment_does_as_much_and_the_rest_is_told_at_once() -> None:
    """Four at a time for 20 ms each; 600 calls a second come. Nothing is lost, and one refusal in a hundred is late at most."""
    deployment, server = Deployment(), asyncio.Semaphore(4)
    gate, served, refused = Gate(Limit(16), deployment), [], []

    async def call() -> None:
        start = time.monotonic()
        if not await gate.enter(5):
            refused.append(time.monotonic() - start)
            return
        mark = deployment.busy.enter(0)
        async with server:
            await asyncio.sleep(0.02)
        deployment.busy.leave(mark, 0)
        served.append(time.monotonic() - start)

    began, made = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while (spent := time.monotonic() - began) < 2.5:
            while made < 600 * spent:
                group.create_task(call())
                made += 1
            await asyncio.sleep(0.002)
        done = len(served)
    assert done >= 0.7 * 200 * 2.5  # timers of a busy machine are late; the fault suite measures it against a peak
    assert len(refused) > 500
    assert sorted(refused)[int(0.99 * len(refused))] < 0.05
    assert max(served) < LONG + 0.5


async def held(client: Client, upstreams: list[Upstream], calls: int) -> list[tuple[int, dict[str, str], bytes]]:
    """Calls at once at upstreams that hold all they get until nothing more comes."""
    more = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await more.wait()
        await exchange.whole(200, completion())

    for one in upstreams:
        one.scripts["m"] = slow
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.chat("m")) for _ in range(calls)]
        await until(lambda: sum(len(one.log) for one in upstreams) + sum(task.done() for task in tasks) == calls)
        more.set()
    return [task.result() for task in tasks]


async def test_what_a_full_deployment_cannot_take_goes_to_the_next_or_is_shed(tmp_path: Path) -> None:
    """Three at each of two; the others are told soon to come again, and no deployment is blamed."""
    async with listening() as a, listening() as b:
        endpoints = [endpoint("m", f"gpu-{n}", one.url, max_concurrency=3) for n, one in enumerate((a, b))]
        async with running(config_of(tmp_path, *endpoints)) as client:
            start = time.monotonic()
            answers = await held(client, [a, b], 24)
            assert time.monotonic() - start < 4
            assert (len(a.log), len(b.log)) == (3, 3)
            codes = [code for code, _, _ in answers]
            assert (codes.count(200), codes.count(503)) == (6, 18)
            _, headers, body = next(answer for answer in answers if answer[0] == 503)
            assert (headers["retry-after"], headers["x-should-retry"]) == ("1", "true")
            assert json.loads(body)["error"]["code"] == "overloaded"
            for one in client.gateway._worlds.deployments.values():
                assert (one.circuit.state, one.circuit.failures, one.busy.count) == (CLOSED, 0, 0)
            records = [record for record in client.records if record.status == 503]
            assert {record.error_type for record in records} == {"rate_limited_local"}
            assert not any(record.attempts for record in records)


async def test_a_client_that_leaves_the_queue_is_never_asked_for(tmp_path: Path) -> None:
    """It waited; when its turn would have come it is gone, and within 200 ms of leaving its record is written."""
    more = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await more.wait()
        await exchange.whole(200, completion())

    async with listening() as a:
        config = config_of(tmp_path, endpoint("m", "gpu-0", a.url, max_concurrency=1))
        async with running(config) as client:
            a.scripts["m"] = slow
            async with asyncio.TaskGroup() as group:
                first = group.create_task(client.chat("m"))
                await until(lambda: a.log)
                _, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rsplit(":", 1)[1]))
                body = b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}'
                writer.write(
                    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                )
                await until(lambda: client.gateway._worlds.deployments["m@gpu-0"].busy.freed)
                left = time.monotonic()
                writer.close()
                record = await client.recorded()
                assert time.monotonic() - left < 0.2
                assert (record.status, record.error_type) == (499, "client_disconnected")
                more.set()
            assert first.result()[0] == 200
            assert len(a.log) == 1


async def test_five_hundred_calls_that_hang_at_one_upstream_slow_no_other(tmp_path: Path) -> None:
    """They fill the places of that one; what is asked of another is answered at once."""

    async def hang(exchange: Exchange) -> None:
        await exchange.gone.wait()

    async with listening() as a, listening() as b:
        endpoints = (endpoint("stuck", "here", a.url), endpoint("m", "here", b.url))
        async with running(config_of(tmp_path, *endpoints)) as client:
            alone = sorted([(await in_time(_answered(client)))[1] for _ in range(40)])
            a.scripts["stuck"] = hang
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(client.chat("stuck", fields={"stream": True})) for _ in range(300)]
                await until(lambda: len(a.log) == 300, 30)
                beside = sorted([(await in_time(_answered(client)))[1] for _ in range(40)])
                for task in tasks:
                    task.cancel()
            assert beside[20] < alone[20] + 0.05


async def _answered(client: Client) -> bool:
    return (await client.chat("m"))[0] == 200


@pytest.mark.parametrize("field", [0, -1, "many", 1.5, True])
def test_a_limit_is_a_whole_number(field: object) -> None:
    """What cannot be one is refused when the config is read."""
    with pytest.raises(reader.Wrong):
        reader.whole(field)
