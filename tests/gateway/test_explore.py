"""Exploring on live traffic: within its three limits, with exact propensities, and never otherwise."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fw_gateway import clock
from fw_gateway.ledger import Entry, SqliteLedger
from fw_gateway.values import Record
from fw_policies.model import NANO_USD, TokenPrice
from tests.gateway.conftest import Client, config_of, endpoint, running
from tests.gateway.upstream import Exchange, Upstream, ok, status

PRICE = 10**9
"""Nano-USD per million tokens: a token costs 1000 nano-USD."""
COST = 10 * 1000
"""Of one call of the scripted upstream: 7 tokens in, 3 out."""
LIMITS = {"share": "50%", "max_cost": "1 USD/day", "max_quality_loss": "5pt"}
Running = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def home(upstream: Upstream, tmp_path: Path) -> Running:
    """A gateway whose policy `p` has the baseline `base` and two models that nothing is known of, `new` and `other`."""

    def started(**more: Any) -> AbstractAsyncContextManager[Client]:
        endpoints = []
        for name in ("base", "new", "other"):
            found = endpoint(name, "here", upstream.url)
            priced = replace(found.target, price=more.get("price", TokenPrice(PRICE, PRICE)), max_output=10)
            endpoints.append(replace(found, target=priced))
        text = {"baseline": "base", "default": {"require": ["p95 ttft <= 2s"]}}
        explore = more.get("explore", LIMITS)
        policies = {"p": {**text, **({"explore": explore} if explore else {})}}
        policies["p"]["default"] |= more.get("lines", {})
        return running(config_of(tmp_path, *endpoints, policies=policies))

    return started


async def ask(client: Client, number: int, **headers: str) -> Record:
    """One call of a task of its own; equal numbers are the same task."""
    code, _, _ = await client.chat("auto", x_fw_policy="p", x_fw_task=f"task-{number}", **headers)
    assert code == 200
    return client.records[-1]


def plan_of(record: Record) -> tuple[str, bool, float]:
    assert record.plan is not None
    return record.plan.targets[0].model, record.plan.explored, record.plan.propensity


async def test_the_share_is_kept_and_each_calls_propensity_is_the_one_it_had(home: Running) -> None:
    async with home() as client:
        seen = Counter([plan_of(await ask(client, number)) for number in range(200)])
    assert set(seen) == {("base", False, 0.5), ("new", True, 0.25), ("other", True, 0.25)}
    assert 70 <= seen["base", False, 0.5] <= 130
    assert all(count >= 25 for count in seen.values())


async def test_the_same_task_is_drawn_the_same_and_without_a_task_chance_decides(home: Running) -> None:
    async with home() as client:
        first = [plan_of(await ask(client, number)) for number in range(20)]
        again = [plan_of(await ask(client, number)) for number in range(20)]
        assert first == again
        key = {"x_fw_idempotency_key": "k"}
        found = {plan_of(await ask(client, number, **key)) for number in range(10)}
        assert len(found) == 1
        for _ in range(40):
            await client.chat("auto", x_fw_policy="p")
        assert {plan_of(record)[1] for record in client.records[-40:]} == {True, False}


async def test_without_explore_nothing_unproven_serves(home: Running, upstream: Upstream) -> None:
    async with home(explore=None) as client:
        assert {plan_of(await ask(client, number)) for number in range(30)} == {("base", False, 1.0)}
    assert upstream.count("new") == upstream.count("other") == 0


async def test_an_explored_call_that_fails_is_tried_once_and_served_by_the_baseline(
    home: Running, upstream: Upstream
) -> None:
    upstream.scripts |= {"new": status(500), "other": status(500)}
    async with home() as client:
        for number in range(8):
            record = await ask(client, number)
            assert record.served is not None
            assert record.served.target.model == "base"
            if plan_of(record)[1]:
                assert [one.target.model for one in record.attempts][1:] == ["base"]
    assert upstream.count("new") + upstream.count("other") > 0


@pytest.mark.parametrize("calls", [1, 3])
async def test_the_ceiling_of_a_day_holds_over_a_restart(home: Running, upstream: Upstream, calls: int) -> None:
    """A call may cost at most its bytes in and ten tokens out; when that no longer fits, nothing is explored, with propensity 1."""
    size = len(json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}))
    worst = (1024 + size + 10) * 1000
    limits = {**LIMITS, "max_cost": f"{(worst + (calls - 1) * COST) / NANO_USD:.9f} USD/day"}
    for _ in range(2):
        async with home(explore=limits) as client:
            for number in range(40):
                await ask(client, number)
            assert plan_of(client.records[-1]) == ("base", False, 1.0)
    assert upstream.count("new") + upstream.count("other") == calls


async def test_what_has_no_known_price_is_not_explored(home: Running, upstream: Upstream) -> None:
    async with home(price=None) as client:
        assert {plan_of(await ask(client, number)) for number in range(20)} == {("base", False, 1.0)}


async def test_hard_rules_bind_what_is_explored(home: Running, upstream: Upstream) -> None:
    async with home(lines={"models": {"exclude": ["new"]}}) as client:
        seen = {plan_of(await ask(client, number)) for number in range(40)}
    assert seen == {("base", False, 0.5), ("other", True, 0.5)}
    assert upstream.count("new") == 0


async def test_explain_says_what_may_be_tried(home: Running) -> None:
    async with home() as client:
        _, _, body = await client.post(
            "/v1/explain", b'{"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}', x_fw_policy="p"
        )
        record = next(one for one in [await ask(client, number) for number in range(20)] if plan_of(one)[1])
        _, _, done = await client.get(f"/v1/decisions/{record.call.decision_id}")
    assert b"0.5 of the calls try one of 2 that are not proven" in body
    assert b"EXPLORED" in done
    assert b"is tried: it is not proven" in done


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    found = SqliteLedger(tmp_path / "ledger.sqlite")
    yield found
    found.close()


def test_two_processes_that_share_a_purse_cannot_overdraw_it(ledger: SqliteLedger, tmp_path: Path) -> None:
    other = SqliteLedger(tmp_path / "ledger.sqlite")
    taken = [one.reserve(Entry("p", "2026-11-23", 30), 100)[0] for one in (ledger, other) * 3]
    assert taken == [True, True, True, False, False, False]
    assert other.reserve(Entry("p", "2026-11-23", 5), 100, [Entry("p", "2026-11-23", -20)]) == (True, 75)
    assert other.reserve(Entry("p", "2026-11-24", 100), 100) == (True, 100)
    assert other.reserve(Entry("q", "2026-11-23", 101), 100) == (False, 0)
    other.close()


async def test_a_run_keeps_the_model_it_began_with(upstream: Upstream, tmp_path: Path) -> None:
    """`cheap` becomes the choice while a run is under way: that run stays with the baseline, a new one does not."""
    targets = []
    for name, price in (("base", PRICE), ("cheap", PRICE // 10)):
        found = endpoint(name, "here", upstream.url)
        targets.append(replace(found, target=replace(found.target, price=TokenPrice(price, price), max_output=10)))
    text = {"baseline": "base", "default": {"sticky": "loop", "require": ["cost <= 1 USD"]}}
    async with running(config_of(tmp_path, *targets, policies={"p": text})) as client:

        async def served(**headers: str) -> str:
            await client.chat("auto", x_fw_policy="p", **headers)
            return plan_of(client.records[-1])[0]

        client.gateway._worlds.limited("cheap@here", 0.2)
        assert await served(x_fw_run="r1") == "base"
        await client.chat("cheap")
        end = clock.monotonic() + 5
        while await served() != "cheap":
            assert clock.monotonic() < end
        assert await served(x_fw_run="r2") == "cheap"
        assert await served(x_fw_run="r1") == "base"


async def test_calls_at_once_do_not_overdraw_the_purse(home: Running, upstream: Upstream) -> None:
    """Each reserves its worst case first: with room for two at a time, no third is under way."""
    going: list[int] = [0]
    most = [0]

    async def slow(exchange: Exchange) -> None:
        going[0] += 1
        most[0] = max(most[0], going[0])
        await asyncio.sleep(0.02)
        going[0] -= 1
        await ok(exchange)

    upstream.scripts |= {"new": slow, "other": slow}
    limits = {**LIMITS, "max_cost": f"{2.5 * 1200 * 1000 / NANO_USD:.9f} USD/day"}
    async with home(explore=limits) as client:
        async with asyncio.TaskGroup() as group:
            for number in range(60):
                group.create_task(client.chat("auto", x_fw_policy="p", x_fw_task=str(number)))
        propensities = {plan_of(record)[1:] for record in client.records}
    assert 1 <= most[0] <= 2
    assert {share for explored, share in propensities if explored} == {0.25}
    assert {share for explored, share in propensities if not explored} <= {0.5, 1.0}


def test_a_reservation_outlives_a_crash(tmp_path: Path) -> None:
    """A process that dies between the reservation and the bill has spent it: the ceiling errs on the safe side."""
    first = SqliteLedger(tmp_path / "ledger.sqlite")
    assert first.reserve(Entry("p", "2026-11-23", 60), 100) == (True, 60)
    first.close()  # nothing was given back
    again = SqliteLedger(tmp_path / "ledger.sqlite")
    assert again.reserve(Entry("p", "2026-11-23", 60), 100) == (False, 60)
    again.close()


async def test_what_a_call_did_not_use_is_given_back_before_the_gateway_ends(home: Running, tmp_path: Path) -> None:
    async with home() as client:
        for number in range(12):
            await ask(client, number)
        count = sum(plan_of(record)[1] for record in client.records)
    ledger = SqliteLedger(tmp_path / "state" / "ledger.sqlite")
    assert ledger.reserve(Entry("p", clock.today(), 0), NANO_USD) == (True, count * COST)
    ledger.close()
