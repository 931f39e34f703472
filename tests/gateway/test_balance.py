"""Replicas of one model: which calls go where, what follows a cached prefix, and what a dead or slow one costs."""

import asyncio
import contextlib
import json
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fw_gateway.config import Config, Endpoint
from fw_gateway.state import Deployment
from fw_gateway.state.balance import BOUND, FIRST, PREFIX, RESTS, SLACK, home, loads, pick, prefix, two
from fw_gateway.state.health import CLOSED, OPEN, PROBING
from fw_gateway.state.pace import DECAY, FRESH, KEPT, SEEN, Pace, Peak, Signals
from fw_policies.model import MachinePrice
from fw_policies.rules.balance import equals, led
from tests.gateway.conftest import Client, config_of, endpoint, running, until
from tests.gateway.upstream import (
    HELLO,
    ROLE,
    STOP,
    Exchange,
    Script,
    Upstream,
    completion,
    failure,
    listening,
    ok,
    status,
)

NAMES = ["m@a", "m@b", "m@c"]


def replicas(folder: Path, *urls: str, **more: Any) -> Config:
    """One model with a deployment at each address, alike in all but that."""
    return config_of(folder, *(endpoint("m", f"gpu-{n}", url, **more) for n, url in enumerate(urls)))


@contextlib.asynccontextmanager
async def three(folder: Path) -> AsyncIterator[tuple[Client, Upstream, Upstream, Upstream]]:
    """A gateway before three replicas."""
    async with (
        listening() as a,
        listening() as b,
        listening() as c,
        running(replicas(folder, a.url, b.url, c.url)) as client,
    ):
        yield client, a, b, c


def test_a_peak_counts_at_once_and_is_forgotten_slowly() -> None:
    """A slow answer is believed; ten seconds later a third of it is left."""
    peak = Peak()
    for now in range(20):
        peak.add(0.1, now)
    peak.add(2.0, 20)
    assert peak.now(20) == 2.0
    assert peak.now(20 + DECAY) == pytest.approx(2 / 2.71828, rel=1e-3)
    peak.add(0.1, 20 + DECAY)
    assert 0.7 < peak.value < 0.9


def test_a_percentile_is_known_from_twenty_answers_on() -> None:
    """Streams and whole answers are counted apart; the newest two hundred count."""
    pace = Pace()
    for number in range(1, SEEN + 1):
        assert pace.percentile(0.95, stream=True) is None
        pace.add(number / 10, number, stream=True)
    assert pace.percentile(0.95, stream=True) == pytest.approx(1.9)
    assert pace.percentile(0.95, stream=False) is None


@pytest.mark.parametrize("often", [0.0, 0.1, 1.0])
def test_a_percentile_is_of_the_newest_answers_however_often_it_is_asked_for(often: float) -> None:
    """More than are kept, many of them equal."""
    rng, pace, seen = random.Random(1), Pace(), []
    for number in range(3 * KEPT):
        seen.append(rng.choice((rng.random(), 0.25, 0.5)))
        pace.add(seen[-1], number, stream=True)
        if number >= SEEN and rng.random() < often:
            newest = sorted(seen[-KEPT:])
            assert pace.percentile(0.95, stream=True) == newest[math.ceil(0.95 * len(newest)) - 1]
    assert pace.percentile(1.0, stream=True) == max(seen[-KEPT:])


def test_what_an_engine_says_counts_for_two_seconds() -> None:
    """Calls of other gateways are seen, those that wait count twice, a full cache is crowded, a silent engine comes last."""
    pace = Pace(signals=Signals(at=10, running=4, waiting=3, kv=0.9, mine=1))
    assert pace.requests(1, 10) == 10
    assert pace.crowding(10) == pytest.approx(2.5)
    assert pace.requests(1, 10 + FRESH + 0.1) == 1
    assert pace.crowding(10 + FRESH + 0.1) == 1
    assert Pace(signals=Signals(at=10, up=False)).crowding(10) > 10


def test_what_an_engine_had_of_this_gateways_calls_is_counted_as_it_is_now() -> None:
    """Five ran when it was looked at, four of them from here: since then they went, or more came; the fifth is somebody else's."""
    pace = Pace(signals=Signals(at=10, running=5, mine=4))
    assert [pace.requests(mine, 11) for mine in (0, 4, 9)] == [1, 5, 10]
    early = Pace(signals=Signals(at=10, running=1, mine=4))
    assert early.requests(4, 10) == 4  # some were on their way there


@given(st.lists(st.floats(1, 50), min_size=2, max_size=9), st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)))
def test_of_two_the_less_loaded_is_taken(load: list[float], draws: tuple[float, float]) -> None:
    """Never the most loaded one, unless all are equal."""
    found = two(load, draws)
    assert load[found] < max(load) or len({*load}) == 1 or load.count(max(load)) > 1


@given(st.integers(0, 2), st.lists(st.floats(1, 50), min_size=3, max_size=3), st.booleans())
def test_a_prefix_stays_at_home_as_long_as_the_load_is_bounded(at: int, load: list[float], cached: bool) -> None:
    """A quarter over the average and one request for what is cached there; just over the average for what is not."""
    average = sum(load) / 3
    bound = BOUND * average + SLACK if cached else average + FIRST
    found = pick(load, (0.3, 0.6), at=at, cached=cached)
    if load[at] <= bound:
        assert found == at
    assert pick(load, (0.3, 0.6), at=at, cached=cached, held=True) == at


def test_few_prefixes_move_when_a_replica_goes() -> None:
    """Only those that lived there; and they spread over all the others."""
    keys = [str(number).encode() for number in range(600)]
    before = {key: NAMES[home(key, NAMES)] for key in keys}
    assert all(150 < count < 250 for count in Counter(before.values()).values())
    left = NAMES[:2]
    moved = Counter(left[home(key, left)] for key in keys if left[home(key, left)] != before[key])
    assert sum(moved.values()) == sum(name == "m@c" for name in before.values())
    assert len(moved) == 2


def test_a_conversation_is_known_by_its_beginning() -> None:
    """Later turns change nothing; another first question does, unless a long system prompt comes first."""
    begin = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    later = [*begin, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Why?"}]
    assert prefix({"messages": begin}) == prefix({"messages": later})
    assert prefix({"messages": begin}) != prefix({"messages": [begin[0], {"role": "user", "content": "Ho"}]})
    long = {"role": "system", "content": "x" * PREFIX}
    assert prefix({"messages": [long, begin[1]]}) == prefix({"messages": [long, {"role": "user", "content": "Ho"}]})
    parts = [{"role": "user", "content": [{"type": "image_url", "image_url": {}}, {"type": "text", "text": "Hi"}]}]
    assert prefix({"messages": parts}) == b"Hi"
    assert prefix({"input": "x"}) == prefix({"messages": 7}) == prefix({"messages": [7]}) == b""


def test_load_is_calls_times_slowness() -> None:
    """Nothing known: by calls alone. Ten times slower with one call is more than nine calls."""
    one, other = Deployment(), Deployment()
    for _ in range(3):
        other.busy.enter(0)
    assert loads([one, other], 100, stream=True) == [1, 4]
    one.pace.add(1.0, 100, stream=True)
    other.pace.add(0.1, 100, stream=True)
    assert loads([one, other], 100, stream=True) == pytest.approx([10, 4])
    other.circuit.state = OPEN
    assert loads([one, other], 100, stream=True)[1] > RESTS


async def test_only_replicas_are_exchanged_for_one_another(upstream: Upstream, tmp_path: Path) -> None:
    """Another price, provider or upstream name: they stay in the order they are listed in. EXPLAIN says over how many calls spread."""
    endpoints: list[Endpoint] = [endpoint("m", "gpu-0", upstream.url), endpoint("m", "gpu-1", upstream.url)]
    dearer = endpoint("m", "gpu-2", upstream.url)
    object.__setattr__(dearer.target, "price", MachinePrice(9))
    endpoints += [dearer, endpoint("m", "gpu-3", upstream.url, "other")]
    async with running(config_of(tmp_path, *endpoints)) as client:
        await client.chat("m")
        plan = (await client.recorded()).plan
        assert plan is not None
        assert [target.deployment for target in equals(plan)] == ["m@gpu-0", "m@gpu-1"]
        swapped = led(plan, tuple(reversed(equals(plan))))
        assert [target.deployment for target in swapped.targets] == ["m@gpu-1", "m@gpu-0", "m@gpu-2", "m@gpu-3"]
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
        _, _, found = await client.post("/v1/explain", body)
        assert "balanced over 2 deployments of m" in json.loads(found)["text"]


async def served(client: Client, count: int, *, even: bool = False, **headers: str) -> Counter[str]:
    """Where calls went: those of `count` conversations, two calls each. `even`: no place was ever slow, whatever the machine does."""
    for number in range(count):
        for _ in range(2):
            if even:
                for deployment in client.gateway._worlds.deployments.values():
                    deployment.pace = Pace()
            messages = [{"role": "user", "content": f"Hi {number}"}]
            assert (await client.chat("m", fields={"messages": messages}, **headers))[0] == 200
    await client.recorded(2 * count)
    return Counter(attempt.target.deployment for record in client.records for attempt in record.attempts)


async def test_conversations_spread_and_each_stays_where_its_prefix_is(tmp_path: Path) -> None:
    """Twenty-four of them over three replicas; both calls of each at the same."""
    async with three(tmp_path) as (client, *_):
        found = await served(client, 24, even=True)
        assert len(found) == 3
        assert max(found.values()) <= 30
        served_by = [record.attempts[0].target.deployment for record in client.records]
        assert served_by[::2] == served_by[1::2]
        assert len({record.plan.targets[0].deployment for record in client.records if record.plan}) == 1


async def test_a_thread_is_known_by_its_name(tmp_path: Path) -> None:
    """Whatever its messages begin with."""
    async with listening() as a, listening() as b, running(replicas(tmp_path, a.url, b.url)) as client:
        assert len(await served(client, 6, x_fw_thread="t-1")) == 1


async def test_a_hot_prefix_overflows(tmp_path: Path) -> None:
    """Twenty equal calls at once: they do not all wait at one replica while the other is idle."""
    more = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await more.wait()
        await exchange.whole(200, completion())

    async with listening() as a, listening() as b, running(replicas(tmp_path, a.url, b.url)) as client:
        a.scripts["m"] = b.scripts["m"] = slow
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(client.chat("m")) for _ in range(20)]
            await until(lambda: len(a.log) + len(b.log) == 20)
            more.set()
        assert {call.result()[0] for call in calls} == {200}
        assert min(len(a.log), len(b.log)) >= 6


async def load(client: Client, calls: int, rate: float) -> list[float]:
    """Seconds of each of `calls` calls, begun `rate` a second; every one of them answered."""
    took: list[float] = []

    async def one(number: int) -> None:
        start = time.monotonic()
        messages = [{"role": "user", "content": f"Hi {number}"}]
        code, body = await client.stream("m", fields={"messages": messages})
        assert (code, body[-1]) == (200, "[DONE]")
        took.append(time.monotonic() - start)

    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            group.create_task(one(number))
            await asyncio.sleep(1 / rate)
    return took


def answering(seconds: float) -> Script:
    """A stream whose first word takes so long."""

    async def script(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await exchange.events(ROLE, HELLO, STOP, b"data: [DONE]\n\n", b"")

    return script


@pytest.mark.parametrize("how", ["500", "reset"])
async def test_a_dead_replica_costs_no_client_an_error(tmp_path: Path, how: str) -> None:
    """One of three fails from the middle on: no client notices, and few attempts are lost before it is left alone."""

    async def reset(exchange: Exchange) -> None:
        exchange.reset()

    async with three(tmp_path) as (client, a, b, c):
        for one in (a, b, c):
            one.scripts["m"] = answering(0.02)
        await load(client, 30, 60)
        before = len(a.log)
        a.scripts["m"] = status(500, body=failure("dead")) if how == "500" else reset
        await load(client, 90, 60)
        assert len(a.log) - before <= 10
        circuit = client.gateway._worlds.deployments["m@gpu-0"].circuit
        assert circuit.state in {OPEN, PROBING}
        a.scripts["m"] = answering(0.02)
        circuit.until = 0.0  # its rest is over
        await load(client, 150, 60)
        assert circuit.state == CLOSED


async def test_a_replica_ten_times_slower_is_hardly_asked(tmp_path: Path) -> None:
    """Grey, not dead: far less than its third of the calls, and the others are as quick as before."""
    async with three(tmp_path) as (client, a, b, c):
        for one in (a, b, c):
            one.scripts["m"] = answering(0.1)
        healthy = quantiles(await load(client, 60, 20), n=100)[98]
        a.scripts["m"] = answering(1.0)
        await load(client, 30, 20)
        noticed = len(a.log)
        took = sorted(await load(client, 100, 20))
        assert len(a.log) - noticed <= 10
        assert took[89] <= 2 * healthy


async def test_when_all_fail_all_are_tried_and_the_first_to_heal_serves(tmp_path: Path) -> None:
    """Panic: nothing is left out, no client waits for a rest to end, and what answers twice is well."""
    async with listening() as a, listening() as b, running(replicas(tmp_path, a.url, b.url)) as client:
        a.scripts["m"] = b.scripts["m"] = status(500)
        for _ in range(12):
            assert (await client.chat("m"))[0] == 500
        circuits = [client.gateway._worlds.deployments[f"m@gpu-{n}"].circuit for n in (0, 1)]
        assert [circuit.state for circuit in circuits] == [OPEN, OPEN]
        asked = len(a.log) + len(b.log)
        for _ in range(10):
            assert (await client.chat("m"))[0] == 500
        assert len(a.log) + len(b.log) == asked + 10
        a.scripts["m"] = b.scripts["m"] = ok
        for number in range(12):
            assert (await client.chat("m", fields={"messages": [{"role": "user", "content": str(number)}]}))[0] == 200
        assert CLOSED in {circuit.state for circuit in circuits}


async def test_more_than_half_are_never_left_out(tmp_path: Path) -> None:
    """Two of three rest: they stay in the plan, behind the one that is well, and answer when that one cannot."""
    async with three(tmp_path) as (client, a, b, c):
        worlds = client.gateway._worlds
        for name in ("m@gpu-0", "m@gpu-1"):
            for _ in range(5):
                worlds.deployments[name].circuit.observe(ok=False, now=time.monotonic())
        worlds._taken, worlds._changed = -10.0, True
        for number in range(6):
            messages = [{"role": "user", "content": str(number)}]
            assert (await client.chat("m", fields={"messages": messages}))[0] == 200
        assert (len(a.log), len(b.log), len(c.log)) == (0, 0, 6)
        plan = (await client.recorded(6)).plan
        assert plan is not None
        assert len(plan.targets) == 3
        c.scripts["m"] = status(500)
        assert (await client.chat("m"))[0] == 200
        assert len(a.log) + len(b.log) == 1


async def test_failure_domains_hold_when_calls_are_balanced(upstream: Upstream, tmp_path: Path) -> None:
    """Whichever replica leads, what follows it shares no provider and no zone with it."""
    policy = {"baseline": "m", "default": {"failure_domains": 2}}
    endpoints = [endpoint("m", "gpu-0", upstream.url), endpoint("m", "gpu-1", upstream.url)]
    for number, one in enumerate(endpoints):
        object.__setattr__(one.target, "zone", f"z{number}")
    elsewhere = [endpoint("m", f"cloud-{n}", upstream.url, "elsewhere") for n in (0, 1)]
    for number, one in enumerate(elsewhere):
        object.__setattr__(one.target, "zone", f"z{number}")
        object.__setattr__(one.target, "provider", "cloud")
    async with running(config_of(tmp_path, *endpoints, *elsewhere, policies={"p": policy})) as client:
        await client.chat("auto", x_fw_policy="p")
        plan = (await client.recorded()).plan
        assert plan is not None
        for order in (equals(plan), tuple(reversed(equals(plan)))):
            first, second = led(plan, order).targets[:2]
            assert first.zone != second.zone
            assert first.provider != second.provider
            assert set(led(plan, order).targets) == set(plan.targets)


def test_balancing_is_cheap() -> None:
    """Choosing among eight replicas takes less than a tenth of a millisecond of CPU time."""
    deployments = [Deployment() for _ in range(8)]
    dice = random.Random(1)
    names = [f"m@gpu-{number}" for number in range(8)]
    start = time.thread_time()
    for number in range(500):
        load_now = loads(deployments, 100.0, stream=True)
        pick(load_now, (dice.random(), dice.random()), at=home(str(number).encode(), names), cached=False)
    assert (time.thread_time() - start) / 500 < 1e-4
