"""What nothing is known of enters by shadow: asked beside a call, paid from the purse, measured, and seen by nobody."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.engine import shadows
from fw_gateway.ledger import history
from fw_gateway.values import Record
from fw_policies.model import NANO_USD, TokenPrice
from fw_policies.rules.explore import SHADOW
from tests.gateway.conftest import Client, config_of, endpoint, running, until
from tests.gateway.upstream import Exchange, Upstream, completion, silent, status

LIMITS = {"share": "50%", "max_cost": "1 USD/day", "max_quality_loss": "5pt"}
Home = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def home(upstream: Upstream, tmp_path: Path) -> Home:
    """A gateway at work, whose policy `p` has the baseline `base` and the model `new`, which nothing is known of."""

    @contextlib.asynccontextmanager
    async def started(**more: Any) -> AsyncIterator[Client]:
        endpoints = []
        for name in ("base", "new"):
            found = endpoint(name, "here", upstream.url)
            priced = replace(found.target, price=TokenPrice(10**9, 10**9), max_output=10, self_hosted=False)
            endpoints.append(replace(found, target=priced))
        limits = {**LIMITS, **more.pop("limits", {})}
        text = {"baseline": "base", "default": {"require": ["p95 ttft <= 2s"], **more}, "explore": limits}
        async with (
            running(config_of(tmp_path, *endpoints, policies={"p": text})) as client,
            asyncio.TaskGroup() as group,
        ):
            work = group.create_task(client.gateway.work())
            await asyncio.sleep(0)
            yield client
            work.cancel()

    return started


async def ask(client: Client, number: int, **headers: str) -> tuple[Record, bytes]:
    """One call of a task of its own."""
    code, _, body = await client.chat("auto", x_fw_policy="p", x_fw_task=f"task-{number}", x_fw_run="r", **headers)
    assert code == 200
    return next(one for one in reversed(client.records) if one.call.shadow is None), body


def asked_beside(client: Client) -> list[Record]:
    return [record for record in client.records if record.call.shadow is not None]


async def settled(client: Client) -> None:
    """Nothing is under way any more."""
    await until(lambda: client.gateway._engine._shadows._count == 0)


async def test_until_eight_answers_were_seen_the_baseline_serves_and_then_what_was_measured_may(
    home: Home, upstream: Upstream
) -> None:
    """Each shadow is a record of its own, outside the run, with the chance that it was drawn with."""
    async with home() as client:
        first_live = None
        for number in range(120):
            record, _ = await ask(client, number)
            await settled(client)
            client.gateway._worlds._taken = -10.0
            assert record.plan is not None
            if record.plan.explored:
                first_live = number
                break
            assert (record.plan.targets[0].model, record.plan.propensity, record.cost) == ("base", 1.0, 10_000)
        beside = asked_beside(client)
        assert first_live is not None
        assert len(beside) == SHADOW
        for record in beside:
            assert record.plan is not None
            assert [(one.reason, one.target.model, one.outcome) for one in record.attempts] == [
                ("shadow", "new", "success")
            ]
            assert (record.plan.explored, record.plan.propensity, record.served) == (True, 0.5, None)
            assert (record.call.identity.run, record.attempts[0].cost) == ("", 10_000)
        served = {record.call.decision_id for record in client.records if record.call.shadow is None}
        assert {record.call.shadow.decision_id for record in beside if record.call.shadow} <= served


async def test_no_loss_allowed_means_shadows_only(home: Home, upstream: Upstream) -> None:
    async with home(limits={"max_quality_loss": "0pt"}) as client:
        for number in range(60):
            record, _ = await ask(client, number)
            await settled(client)
            client.gateway._worlds._taken = -10.0
            assert record.served is not None
            assert record.served.target.model == "base"
        assert len(asked_beside(client)) > SHADOW


@pytest.mark.parametrize("streams", [True, False])
async def test_the_client_sees_byte_for_byte_what_it_sees_without_shadows(
    home: Home, upstream: Upstream, *, streams: bool
) -> None:
    """Whatever becomes of the shadow: here it fails."""
    upstream.scripts |= {"new": status(500)}
    fields = {"stream": True} if streams else {}
    async with home() as client:
        bodies = set()
        for number in range(12):
            code, headers, body = await client.chat("auto", fields=fields, x_fw_policy="p", x_fw_task=f"task-{number}")
            assert code == 200
            assert headers["x-fw-model"] == "base"
            bodies.add(body)
        await settled(client)
        assert len(bodies) == 1
        assert [record.error_type for record in asked_beside(client)] == ["500"] * len(asked_beside(client))
        assert upstream.count("new") == len(asked_beside(client)) > 0


async def test_the_purse_of_the_day_pays_for_shadows_and_its_ceiling_holds(home: Home, upstream: Upstream) -> None:
    size = len(json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}))
    worst = (1024 + size + 10) * 1000
    async with home(limits={"max_cost": f"{(worst + 2 * 10_000) / NANO_USD:.9f} USD/day"}) as client:
        for number in range(40):
            await ask(client, number)
            await settled(client)
    assert upstream.count("new") == 3


async def test_checks_judge_what_nobody_sees(home: Home, upstream: Upstream) -> None:
    async def empty(exchange: Exchange) -> None:
        await exchange.whole(200, completion(""))

    upstream.scripts |= {"new": empty}
    async with home(verify=["not_empty"]) as client:
        for number in range(12):
            await ask(client, number)
        await settled(client)
        assert {record.attempts[0].accepted for record in asked_beside(client)} == {False}
        known = client.gateway._worlds.statistics._quality
        assert known["", "*", "new", "fw.accepted"].total == 0


async def test_shadows_under_way_end_with_the_gateway_and_what_they_may_cost_counts_as_spent(
    home: Home, upstream: Upstream
) -> None:
    """So many at once and no more; none is left behind when the gateway stops."""
    upstream.scripts |= {"new": silent}
    async with home() as client:
        for number in range(60):
            await ask(client, number)
        await until(lambda: upstream.count("new") == shadows.MOST)
    beside = asked_beside(client)
    assert [record.attempts[0].outcome for record in beside] == ["cancelled"] * shadows.MOST
    assert all(each.busy.count == 0 for each in client.gateway._worlds.deployments.values())


async def test_a_call_that_is_sent_again_has_no_second_shadow(home: Home, upstream: Upstream) -> None:
    async with home() as client:
        for _ in range(2):
            for number in range(10):
                await ask(client, number, x_fw_idempotency_key=f"key-{number}")
                await settled(client)
    keys = [record.call.shadow.decision_id for record in asked_beside(client) if record.call.shadow]
    assert 0 < len(keys) == len(set(keys)) <= 10
    assert upstream.count("new") == len(keys)


async def test_the_ledger_keeps_shadows_apart_and_learning_from_the_past_leaves_them_out(
    home: Home, tmp_path: Path
) -> None:
    async with home() as client:
        for number in range(12):
            await ask(client, number)
        await settled(client)
        client.gateway.recorder.flush(2.0)
        run = client.gateway._ledger.run("r")
        one = asked_beside(client)[0]
        found = client.gateway._ledger.decision(one.call.decision_id)
        assert found is not None
        assert one.call.shadow is not None
        assert found.row["shadow_of"] == one.call.shadow.decision_id
        assert len(run) == 12
        past = history.calls(tmp_path / "state" / "ledger.sqlite", 0)
        assert {each.decision_id for each in past} == {each.decision_id for each in run}
        spans = [json.loads(line) for line in (tmp_path / "traces.jsonl").read_text().splitlines()]
        text = json.dumps(spans)
        assert "shadow_of" in text
