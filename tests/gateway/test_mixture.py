"""Mixtures are drawn from when a call comes; runs keep their arm; an arm may say how hard to think."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fw_policies.model import Facts, Plan
from fw_policies.spec import Policy
from tests.gateway.conftest import CAN, Client, config_of, endpoint, running
from tests.gateway.upstream import Upstream

WEIGHTS = {"a": 0.25, "b": 0.75}


@pytest.fixture
async def mixed(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Client]:
    """Every plan of the policies `p` and `looping` is a mixture of the models `a` and `b`; `b` thinks hard, and only it can."""
    targets = [endpoint(name, "here", upstream.url) for name in WEIGHTS]
    targets[1] = replace(targets[1], target=replace(targets[1].target, capabilities=CAN | {"reasoning"}))
    policies: dict[str, dict[str, Any]] = {
        "p": {"baseline": "a"},
        "looping": {"baseline": "a", "default": {"sticky": "loop"}},
    }
    async with running(config_of(tmp_path, *targets, policies=policies)) as client:
        worlds = client.gateway._worlds
        planned = worlds.plan

        def plan(policy: Policy | None, facts: Facts) -> Plan:
            found = planned(policy, facts)
            if policy is None:
                return found
            arms = tuple(
                (weight, replace(found, targets=(one.target,), strategy="single", effort="high"))
                for weight, one in zip(WEIGHTS.values(), targets, strict=True)
            )
            return replace(found, strategy="mixture", arms=arms)

        worlds.plan = plan  # type: ignore[method-assign]
        yield client


def drawn(client: Client) -> tuple[str, float]:
    plan = client.records[-1].plan
    assert plan is not None
    return plan.targets[0].model, plan.propensity


async def test_arms_serve_with_their_weights_and_the_propensity_says_so(mixed: Client) -> None:
    seen: Counter[tuple[str, float]] = Counter()
    for number in range(200):
        await mixed.chat("auto", x_fw_policy="p", x_fw_task=str(number))
        seen[drawn(mixed)] += 1
    assert set(seen) == {("a", 0.25), ("b", 0.75)}
    assert 25 <= seen["a", 0.25] <= 78


async def test_a_run_keeps_its_arm_and_runs_are_spread_over_the_arms(mixed: Client) -> None:
    of: dict[str, set[str]] = {}
    for number in range(30):
        for _ in range(3):
            await mixed.chat("auto", x_fw_policy="looping", x_fw_run=f"run-{number}")
            of.setdefault(f"run-{number}", set()).add(drawn(mixed)[0])
    assert all(len(models) == 1 for models in of.values())
    assert set.union(*of.values()) == {"a", "b"}


async def test_without_a_task_or_a_run_chance_decides(mixed: Client) -> None:
    for _ in range(40):
        await mixed.chat("auto", x_fw_policy="p")
    assert {record.plan.targets[0].model for record in mixed.records if record.plan is not None} == {"a", "b"}


async def test_an_effort_is_asked_of_models_that_reason_where_the_caller_said_nothing(
    mixed: Client, upstream: Upstream
) -> None:
    for number in range(12):
        await mixed.chat("auto", x_fw_policy="p", x_fw_task=str(number))
    asked = {str(one.fields["model"]): one.fields.get("reasoning_effort") for one in upstream.log}
    assert asked == {"a": None, "b": "high"}
    upstream.log.clear()
    for number in range(12):
        await mixed.chat("auto", x_fw_policy="p", x_fw_task=str(number), fields={"reasoning_effort": "low"})
    assert {one.fields.get("reasoning_effort") for one in upstream.log} == {"low"}


async def test_explain_shows_the_arms_and_a_decision_the_one_that_was_drawn(mixed: Client) -> None:
    body = b'{"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}'
    _, _, said = await mixed.post("/v1/explain", body, x_fw_policy="p")
    text = json.loads(said)["text"]
    assert "mixture" in text
    assert "2 b, effort high" in text
    assert "0.75 of calls" in text
    _, headers, _ = await mixed.chat("auto", x_fw_policy="p", x_fw_task="7")
    _, _, done = await mixed.get(f"/v1/decisions/{headers['x-fw-decision-id']}")
    assert b"of 2, drawn with probability" in done
