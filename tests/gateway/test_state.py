"""Health, load and plans: transitions in a table, shares of a machine, one frozen world at a time."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fw_gateway.state.health import (
    CLOSED,
    KEY_REST,
    LEAST,
    LONGEST,
    OPEN,
    PROBING,
    REST,
    SAMPLES,
    TRIP,
    Busy,
    Circuit,
)
from fw_policies.model import Facts
from tests.gateway.conftest import Client, config_of, endpoint, running
from tests.gateway.upstream import Upstream, status


def tripped(now: float = 0.0) -> Circuit:
    """A circuit that has just opened."""
    circuit = Circuit()
    for _ in range(TRIP):
        circuit.observe(ok=False, now=now)
    return circuit


def test_a_deployment_rests_after_five_failures_in_a_row() -> None:
    """A success in between starts the count anew; five without one open the circuit for ten seconds."""
    circuit = Circuit()
    for ok in [False] * (TRIP - 1) + [True] + [False] * (TRIP - 1):
        circuit.observe(ok=ok, now=0)
    assert circuit.state == CLOSED
    assert circuit.observe(ok=False, now=0)
    assert circuit.state == OPEN
    assert circuit.blocked(REST - 0.1) == "cooldown"
    assert circuit.blocked(REST) == ""
    assert circuit.state == PROBING


def test_one_probe_at_a_time_decides() -> None:
    """Half open, one call is let in, a second apart; two successes close the circuit, a failure doubles the rest."""
    circuit = tripped()
    circuit.blocked(REST)
    assert circuit.admit(REST)
    assert not circuit.admit(REST + 1)
    circuit.observe(ok=False, now=REST + 2)
    assert circuit.state == OPEN
    assert circuit.blocked(REST + 2 + 2 * REST - 0.1) == "cooldown"
    circuit.blocked(REST + 2 + 2 * REST)
    assert circuit.admit(100)
    circuit.observe(ok=True, now=100.1)
    assert circuit.state == PROBING
    assert not circuit.admit(100.9)
    assert circuit.admit(101)
    circuit.observe(ok=True, now=101)
    assert circuit.state == CLOSED
    assert circuit.admit(101)
    assert circuit.admit(101)


def test_half_of_its_answers_failing_rests_a_deployment_too() -> None:
    """Never five in a row, but ten of twenty within ten seconds; the same over a longer time does not count."""
    for spacing, state in ((0.4, OPEN), (1.0, CLOSED)):
        circuit = Circuit()
        for number in range(SAMPLES):
            circuit.observe(ok=number % 2 == 0, now=100 + number * spacing)
        assert circuit.state == state


@given(st.integers(0, 12), st.floats(0, 1, exclude_max=True))
def test_rests_double_up_to_five_minutes_and_spread_by_a_fifth(rests: int, draw: float) -> None:
    """Those that tripped together do not come back together."""
    circuit = Circuit(rests=rests)
    for _ in range(TRIP):
        circuit.observe(ok=False, now=50, draw=draw)
    whole = min(LONGEST, REST * 2**rests)
    assert 0.8 * whole <= circuit.until - 50 < 1.2 * whole + 1e-9


def test_answers_given_while_it_rests_heal_it() -> None:
    """Nobody else was left, it was asked all the same, and answered twice; an answer that began before says nothing."""
    circuit = tripped(now=5)
    assert not circuit.observe(ok=True, now=6, began=4)
    assert not circuit.observe(ok=True, now=6, began=4)
    assert not circuit.observe(ok=True, now=7, began=6)
    assert circuit.observe(ok=True, now=8, began=6)
    assert circuit.state == CLOSED


def test_what_was_out_comes_back_slowly() -> None:
    """After a pause that its provider asked for, or a rest: a tenth at first, all of it ten seconds later."""
    circuit = Circuit()
    assert circuit.share(100) == 1
    circuit.limit(5, 100)
    assert circuit.share(105) == LEAST
    assert circuit.share(110) == pytest.approx(0.5)
    assert circuit.share(115) == 1


def test_a_refused_key_closes_its_deployment_for_longer_each_time() -> None:
    """401 and 402 at once, 403 only at the third in a row: one may be about one request."""
    circuit = Circuit()
    assert not circuit.refused(403, 0)
    assert not circuit.refused(403, 0)
    circuit.observe(ok=True, now=0)
    assert not circuit.refused(403, 0)
    assert not circuit.refused(403, 0)
    assert circuit.refused(403, 0)
    assert circuit.blocked(KEY_REST - 1) == "unhealthy"
    assert circuit.blocked(KEY_REST) == ""
    assert circuit.refused(401, KEY_REST)
    assert circuit.blocked(KEY_REST + 2 * KEY_REST - 1) == "unhealthy"
    circuit.observe(ok=True, now=1000)
    assert circuit.refused(402, 1000)
    assert circuit.blocked(1000 + KEY_REST) == ""


def test_a_probe_that_never_ends_is_replaced() -> None:
    """A call that was lost does not keep a deployment out for ever."""
    circuit = tripped()
    circuit.blocked(REST)
    assert circuit.admit(REST)
    assert circuit.admit(REST + REST)


def test_no_rest_is_longer_than_five_minutes() -> None:
    """Doubling has an end."""
    circuit = tripped()
    now = 0.0
    for _ in range(10):
        now = circuit.until
        circuit.blocked(now)
        circuit.observe(ok=False, now=now)
    assert circuit.until - now == LONGEST


def test_a_provider_that_asks_for_a_pause_gets_it() -> None:
    """Until Retry-After is over, and the longer of two counts."""
    circuit = Circuit()
    circuit.limit(5, 0)
    circuit.limit(1, 0)
    assert circuit.blocked(4.9) == "rate_limited"
    assert circuit.blocked(5) == ""


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50)), min_size=1, max_size=8))
def test_shares_of_a_machine_add_up_to_the_time_it_was_busy(calls: list[tuple[float, float]]) -> None:
    """Whatever overlaps: the sum over calls is the length of the union of their intervals."""
    events = sorted(
        [(start, 1, number) for number, (start, _) in enumerate(calls)]
        + [(start + length, 0, number) for number, (start, length) in enumerate(calls)],
        key=lambda event: (event[0], -event[1]),
    )
    busy, marks, used, open_since, union = Busy(), {}, 0.0, 0.0, 0.0
    for now, begins, number in events:
        if begins:
            open_since = now if not busy.count else open_since
            marks[number] = busy.enter(now)
        else:
            used += busy.leave(marks[number], now)
            union += now - open_since if not busy.count else 0.0
    assert used == pytest.approx(union, abs=1e-6)


async def test_a_deployment_that_rests_is_not_asked(client: Client, upstream: Upstream) -> None:
    """Five failures, and the pair's first deployment is left out until its rest is over."""
    upstream.scripts["bad"] = status(502)
    for _ in range(TRIP):
        assert (await client.chat("pair"))[0] == 200
    asked = upstream.count("bad")
    assert asked == TRIP
    assert (await client.chat("pair"))[0] == 200
    assert upstream.count("bad") == asked
    record = await client.recorded(TRIP + 1)
    assert record.plan is not None
    assert [candidate.excluded for candidate in record.plan.candidates] == ["cooldown", ""]


async def test_the_only_deployment_is_never_left_out(client: Client, upstream: Upstream) -> None:
    """When a rest would leave nobody to serve, it is tried all the same, and heals at once."""
    upstream.scripts["one"] = status(503)
    for _ in range(TRIP):
        assert (await client.chat("one"))[0] == 503
    del upstream.scripts["one"]
    assert (await client.chat("one"))[0] == 200


async def test_our_own_refusals_are_no_failures_of_a_deployment(client: Client, upstream: Upstream) -> None:
    """400 and 404 say nothing about health."""
    upstream.scripts["bad"] = status(400)
    for _ in range(TRIP + 1):
        assert (await client.chat("pair"))[0] == 400
    assert client.gateway._worlds.deployments["pair@bad"].circuit.state == CLOSED


async def test_equal_requests_share_a_plan(client: Client) -> None:
    """The plan is made once per world; the second request gets the very object."""
    await client.chat("one")
    await client.chat("one")
    await client.recorded(2)
    first, second = client.records
    assert first.plan is second.plan


async def test_what_was_learnt_survives_a_restart(upstream: Upstream, tmp_path: Path) -> None:
    """Statistics are saved when a gateway stops, and are there when the next one starts."""
    config = config_of(tmp_path, endpoint("one", "here", upstream.url))
    async with running(config) as client:
        await client.chat("one", x_fw_agent="coding", x_fw_step="plan")
        learnt = client.gateway._worlds.statistics.to_dict()
    async with running(config) as client:
        assert client.gateway._worlds.statistics.to_dict() == learnt


async def test_a_decision_a_run_and_their_outcomes_can_be_read(client: Client) -> None:
    """By the id in the answer's header, as text and as data; an outcome counts once."""
    _, headers, _ = await client.chat("one", x_fw_agent="coding", x_fw_step="plan", x_fw_run="r-7")
    name = headers["x-fw-decision-id"]
    code, _, body = await client.get(f"/v1/decisions/{name}")
    found = json.loads(body)
    assert code == 200
    assert found["decision"]["decision_id"] == name
    assert found["text"]
    code, _, body = await client.get("/v1/runs/r-7")
    assert code == 200
    assert name in json.dumps(json.loads(body)["run"])
    report = json.dumps({"outcomes": {"tests_pass": True}, "decision": name}).encode()
    code, _, body = await client.post("/v1/outcomes", report)
    assert (code, json.loads(body)) == (200, {"stored": 1, "duplicate": False})
    code, _, body = await client.post("/v1/outcomes", report)
    assert (code, json.loads(body)) == (200, {"stored": 0, "duplicate": True})


async def test_explain_plans_and_sends_nothing(client: Client, upstream: Upstream) -> None:
    """The plan as text and data, and no upstream heard of it."""
    body = json.dumps({"model": "pair", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    code, _, found = await client.post("/v1/explain", body)
    assert code == 200
    assert "pair" in json.loads(found)["text"]
    assert json.loads(found)["plan"]
    assert not upstream.log
    assert client.records == []


async def test_models_and_metrics_are_listed(client: Client) -> None:
    """The names that `model` may have, and figures for Prometheus."""
    await client.chat("one")
    _, _, body = await client.get("/v1/models")
    assert [row["id"] for row in json.loads(body)["data"]] == ["auto", "one", "pair"]
    _, headers, body = await client.get("/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"# TYPE" in body


async def test_a_policy_serves_an_agents_step(upstream: Upstream, tmp_path: Path) -> None:
    """By header, by `agent/step`, and by the policy of the agent's name; day one serves the baseline."""
    endpoints = (endpoint("one", "here", upstream.url), endpoint("two", "here", upstream.url))
    text = {"baseline": "two", "default": {"minimize": "cost", "require": ["p95 ttft <= 2s"]}}
    async with running(config_of(tmp_path, *endpoints, policies={"coding": text})) as client:
        assert (await client.chat("auto", x_fw_agent="coding", x_fw_step="plan"))[1]["x-fw-model"] == "two"
        assert (await client.chat("coding/plan"))[1]["x-fw-model"] == "two"
        assert (await client.chat("auto", x_fw_policy="coding"))[1]["x-fw-model"] == "two"
        record = await client.recorded(3)
        assert record.plan is not None
        assert record.plan.reason == "baseline"
        assert client.records[1].call.identity.step == "plan"


async def test_the_outcome_of_a_run_counts_once_however_often_it_called_a_step(
    upstream: Upstream, tmp_path: Path
) -> None:
    """Three calls that share one outcome are one observation of their model."""
    text = {"baseline": "one", "quality": {"outcome": "tests_pass", "of": "run"}}
    config = config_of(tmp_path, endpoint("one", "here", upstream.url), policies={"coding": text})
    async with running(config) as client:
        for _ in range(3):
            await client.chat("auto", x_fw_agent="coding", x_fw_step="edit", x_fw_run="r-1")
        said = {"outcomes": {"tests_pass": True}, "run": "r-1", "step": "edit"}
        assert (await client.post("/v1/outcomes", json.dumps(said).encode()))[0] == 200
        learnt = client.gateway._worlds.statistics.freeze()
        target = client.gateway._worlds.world.targets[0]
        found = learnt.outlook(Facts(agent="coding", step="edit"), target, outcome="tests_pass").quality
        assert found is not None
        assert (found.n, found.mean) == (1, 1.0)
