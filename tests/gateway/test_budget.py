"""Trying again: how often a group may be, how long is waited, and what the client is told when no more is allowed."""

import asyncio
import json
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fw_gateway.config import Endpoint, Secret
from fw_gateway.state.budget import CAP, EARNED, FLOOR, HEDGED, MOST, RetryBudget, backoff, told
from fw_gateway.state.health import CLOSED
from fw_gateway.upstream import retry_after
from fw_policies.model import TokenPrice
from tests.gateway.conftest import Client, config_of, endpoint, running
from tests.gateway.upstream import Exchange, Upstream, completion, failure, silent, status


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=400))
def test_no_group_is_tried_more_than_its_budget_allows(gaps: list[float]) -> None:
    """Everything fails and everything is tried again: one fifth of the calls, three a second, and what was saved before."""
    purse, now, retries = RetryBudget(), 0.0, 0
    for gap in gaps:
        now += gap
        purse.earn(now)
        retries += purse.spend(now)
    assert retries <= MOST + EARNED * len(gaps) + FLOOR * now + 1e-6


def test_a_quiet_group_may_be_retried_at_all() -> None:
    """Tokens come by themselves, and are not saved without end."""
    purse = RetryBudget(tokens=0.0)
    assert not purse.spend(0)
    assert purse.spend(0.4)
    purse.earn(1e6)
    assert purse.tokens == MOST


def test_hedges_are_one_in_twenty_and_leave_half_of_the_budget_to_failures() -> None:
    """A second request beside a slow one takes a token, and none of the last five."""
    purse, hedges = RetryBudget(), 0
    for number in range(1000):
        purse.earn(number)
        hedges += purse.hedge(number)
    assert hedges == pytest.approx(1000 * HEDGED, abs=1)
    scarce = RetryBudget(tokens=MOST / 2 - 0.1, saved=2)
    assert not scarce.hedge(0)
    assert scarce.spend(0)


@given(st.integers(0, 20), st.floats(0, 1, exclude_max=True))
def test_waits_double_up_to_two_seconds_with_full_jitter(retry: int, draw: float) -> None:
    """Anything from nothing to the whole wait."""
    assert 0 <= backoff(retry, draw) <= min(CAP, 0.1 * 2**retry)


@given(st.floats(0, 20), st.floats(0, 60), st.floats(0, 1, exclude_max=True))
def test_a_provider_is_waited_for_as_long_as_it_said_or_not_at_all(asked: float, left: float, draw: float) -> None:
    """Never less, never a quarter more; not when it is over ten seconds or over half of what is left."""
    wait = told(asked, left, draw)
    if asked > min(10, left / 2):
        assert wait is None
    else:
        assert wait is not None
        assert asked <= wait <= 1.25 * asked


def test_retry_after_is_seconds_a_date_or_milliseconds() -> None:
    """What cannot be read was not said."""
    assert retry_after("2", None) == 2
    assert retry_after("1.5", "250") == 0.25
    assert retry_after(formatdate(time.time() + 30, usegmt=True), None) == pytest.approx(30, abs=1.5)
    assert retry_after(formatdate(time.time() - 30, usegmt=True), None) == 0
    for text in ("soon", "-3", "nan", "inf", ""):
        assert retry_after(text, None) is None


async def test_when_everything_fails_attempts_stay_within_the_budget(client: Client, upstream: Upstream) -> None:
    """500 for ever, a hundred calls at once: the first failures are tried again, the rest are told at once, with all that a client needs."""
    upstream.scripts["one"] = status(500)
    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(client.chat("one")) for _ in range(100)]
    answers = [call.result() for call in calls]
    allowed = 100 + MOST + 100 * EARNED + FLOOR * (time.monotonic() - start)
    assert 100 < len(upstream.log) <= allowed
    assert {code for code, _, _ in answers} == {500}
    assert {body for _, _, body in answers} == {failure("told to say 500")}
    assert all(headers["x-should-retry"] == "false" for _, headers, _ in answers)
    assert sum("retry-after" in headers for _, headers, _ in answers) >= 100 - MOST - 100 * EARNED - FLOOR * 60


async def test_a_pattern_of_names_has_one_budget(client: Client, upstream: Upstream) -> None:
    """`fx-*` forwards the caller's name: however many names, they are one group."""
    for number in range(60):
        upstream.scripts[f"fx-{number}"] = status(500)
    async with asyncio.TaskGroup() as group:
        for number in range(60):
            group.create_task(client.chat(f"fx-{number}"))
    assert len(upstream.log) <= 60 * (1 + EARNED) + MOST + FLOOR * 20


async def test_a_twin_is_asked_rather_than_the_same_one_again(upstream: Upstream, tmp_path: Path) -> None:
    """Two deployments of one model: the failed one is not asked a second time."""
    endpoints = (endpoint("pair", "bad", upstream.url, "bad"), endpoint("pair", "good", upstream.url, "good"))
    upstream.scripts["bad"] = status(500)
    async with running(config_of(tmp_path, *endpoints)) as client:
        assert (await client.chat("pair"))[0] == 200
    assert (upstream.count("bad"), upstream.count("good")) == (1, 1)


async def test_what_never_left_costs_no_budget(upstream: Upstream, tmp_path: Path) -> None:
    """Nobody listens at the first place: however many calls find out at once, the second answers them all."""
    endpoints = (
        endpoint("pair", "gone", "http://127.0.0.1:9/v1", "bad"),
        endpoint("pair", "good", upstream.url, "good"),
    )
    async with running(config_of(tmp_path, *endpoints)) as client:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(client.chat("pair")) for _ in range(40)]
        assert [call.result()[0] for call in calls] == [200] * 40


async def test_the_soonest_retry_after_reaches_the_client_when_all_fail(client: Client, upstream: Upstream) -> None:
    """Both are over what is waited for: fail over, then relay the shorter one."""
    upstream.scripts["bad"] = status(429, "Retry-After: 40")
    upstream.scripts["good"] = status(503)
    code, headers, _ = await client.chat("pair")
    assert (code, headers["retry-after"], headers["x-should-retry"]) == (503, "40", "false")
    record = client.gateway._worlds.deployments["pair@bad"].circuit
    assert record.limited_until > time.monotonic() + 30


@pytest.mark.parametrize(("code", "body"), [(401, None), (402, None), (429, failure("no", code="insufficient_quota"))])
async def test_a_refused_key_is_left_alone(client: Client, upstream: Upstream, code: int, body: bytes | None) -> None:
    """Asked once; the next calls go straight to the other deployment."""
    upstream.scripts["bad"] = status(code, body=body)
    for _ in range(5):
        assert (await client.chat("pair"))[0] == 200
    assert upstream.count("bad") == 1
    assert client.gateway._worlds.deployments["pair@bad"].circuit.state == CLOSED


def keyed(model: str, place: str, upstream: Upstream, key: str) -> Endpoint:
    """A deployment of `model` with a key of its own; upstream it is called as its place is."""
    return endpoint(model, place, upstream.url, place, key=Secret(key))


@pytest.mark.parametrize("code", [401, 403])
async def test_a_key_that_was_refused_is_not_tried_elsewhere(upstream: Upstream, tmp_path: Path, code: int) -> None:
    """One attempt: its twins have the same key. The client gets 502, for its own key is no worse; another key may still serve."""
    same = tuple(keyed("same", place, upstream, "sk-1") for place in ("bad", "worse"))
    other = (keyed("other", "bad", upstream, "sk-1"), keyed("other", "good", upstream, "sk-2"))
    upstream.scripts |= {"bad": status(code), "worse": status(code)}
    async with running(config_of(tmp_path, *same, *other)) as client:
        got, headers, body = await client.chat("same")
        assert (got, headers["x-should-retry"]) == (502, "false")
        assert f"told to say {code}" in json.loads(body)["error"]["message"]
        assert (upstream.count("bad"), upstream.count("worse")) == (1, 0)
        assert (await client.chat("other"))[0] == 200
        assert (upstream.count("bad"), upstream.count("good")) == (2, 1)


@pytest.mark.parametrize(("code", "asked"), [(401, 0), (403, 1)])
async def test_a_key_may_be_refused_for_one_model(upstream: Upstream, tmp_path: Path, code: int, asked: int) -> None:
    """403 says nothing about the next model of the plan; 401 says that the key is none."""
    lines = {"verify": "not_empty", "require": ["cost <= 1 USD"]}
    policies = {"default": {"baseline": "b-second", "default": lines}}
    first, second = (keyed(*names, upstream, "sk-1") for names in (("a-first", "bad"), ("b-second", "good")))
    endpoints = [
        replace(one, target=replace(one.target, price=TokenPrice(10**10, 10**10), max_output=100))
        for one in (first, second)
    ]
    upstream.scripts["bad"] = status(code)
    async with running(config_of(tmp_path, *endpoints, policies=policies)) as client:
        assert (await client.chat("auto"))[0] == (200 if asked else 502)
    assert (upstream.count("bad"), upstream.count("good")) == (1, asked)


async def test_clients_that_will_not_wait_do_not_close_a_deployment(client: Client, upstream: Upstream) -> None:
    """Their deadlines pass before its limit does: that is no failure of its own."""
    upstream.scripts["one"] = silent
    for stream in (True, False) * 4:
        assert (await client.chat("one", fields={"stream": stream}, x_request_timeout="0.05"))[0] == 504
    assert client.gateway._worlds.deployments["one@here"].circuit.failures == 0


async def test_an_answer_that_does_not_come_whole_within_its_limit_is_asked_for_elsewhere(
    upstream: Upstream, tmp_path: Path
) -> None:
    """At its limit, long before the caller's deadline: one attempt there. Where none is set, a slow answer is waited for."""
    endpoints = (
        endpoint("pair", "bad", upstream.url, "bad", answer_limit=0.3),
        endpoint("pair", "good", upstream.url, "good"),
        endpoint("one", "here", upstream.url, "slow", ttft_limit=0.1),
    )

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        await exchange.whole(200, completion())

    upstream.scripts |= {"bad": silent, "slow": slow}
    async with running(config_of(tmp_path, *endpoints)) as client:
        start = time.monotonic()
        assert (await client.chat("pair", x_request_timeout="5"))[0] == 200
        assert 0.3 <= time.monotonic() - start < 1.3
        assert (upstream.count("bad"), upstream.count("good")) == (1, 1)
        assert client.gateway._worlds.deployments["pair@bad"].circuit.failures == 1
        assert (await client.chat("one"))[0] == 200


async def test_a_silent_upstream_is_not_asked_again_but_the_next_one_is(upstream: Upstream, tmp_path: Path) -> None:
    """At the limit for the first token, give or take a second: one attempt there, and the other answers."""
    endpoints = (
        endpoint("pair", "bad", upstream.url, "bad", ttft_limit=0.3),
        endpoint("pair", "good", upstream.url, "good"),
    )
    upstream.scripts["bad"] = silent
    async with running(config_of(tmp_path, *endpoints)) as client:
        start = time.monotonic()
        code, events = await client.stream("pair")
        assert code == 200
        assert events[-1] == "[DONE]"
        assert 0.3 <= time.monotonic() - start < 1.3
        record = await client.recorded()
    assert [attempt.target.deployment for attempt in record.attempts] == ["pair@bad", "pair@good"]
    assert record.attempts[0].error_type == "timeout"
    assert upstream.log[0].gone_at


async def test_five_silent_answers_close_a_deployment(upstream: Upstream, tmp_path: Path) -> None:
    """A grey failure: connections are accepted, nothing comes; the sixth call does not wait."""
    endpoints = (
        endpoint("pair", "bad", upstream.url, "bad", ttft_limit=0.1),
        endpoint("pair", "good", upstream.url, "good"),
    )
    upstream.scripts["bad"] = silent
    async with running(config_of(tmp_path, *endpoints)) as client:
        for _ in range(7):
            assert (await client.stream("pair"))[0] == 200
        assert upstream.count("bad") == 5


async def test_a_retry_that_has_no_time_left_is_not_made(client: Client, upstream: Upstream) -> None:
    """Less than a fifth of a second remains after the first failure: the client hears of its deadline."""

    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await exchange.whole(500, failure("too late"))

    upstream.scripts["bad"] = late
    code, _, body = await client.chat("pair", x_request_timeout="0.35")
    assert code == 504
    assert json.loads(body)["error"]["code"] == "deadline_exceeded"
    assert upstream.count("good") == 0


async def test_tries_of_a_forwarded_name_are_paid_like_all_others(upstream: Upstream, tmp_path: Path) -> None:
    """The caller's own name goes upstream there, and makes no other group of it: the second and the third attempt cost a token each."""
    places = [endpoint("fx-*", name, upstream.url, forward_name=True) for name in ("a", "b", "c")]
    upstream.scripts["fx-broken"] = status(503)
    async with running(config_of(tmp_path, *places)) as client:
        purse = client.gateway._worlds.budget(places[0].target)
        assert (await client.chat("fx-broken"))[0] == 503
        assert len(upstream.log) == 3
        lasted = client.records[0].ended - client.records[0].call.started
        assert MOST - 2 <= purse.tokens <= MOST - 2 + FLOOR * lasted
