"""Answers under `verify`: held until they pass, then given; rejected ones go on to the next model, and are paid for."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.engine import pending
from fw_policies.model import TokenPrice
from tests.gateway.conftest import Client, config_of, data_of, endpoint, running, until
from tests.gateway.upstream import DONE, ROLE, STOP, USAGE, Exchange, Script, Upstream, event

SCHEMA = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"]}
ASKED = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}
GOOD, BAD = '{"label": "a"}', '{"label": "z"}'
LINES = {"require": ["cost <= 1 USD"]}


def saying(text: str) -> Script:
    """A model that says this, whole or as a stream of single characters."""

    async def script(exchange: Exchange) -> None:
        if exchange.fields.get("stream"):
            pieces = [event({"content": one}) for one in text]
            bill = [event(None, usage=USAGE)] if exchange.fields.get("stream_options") else []
            await exchange.events(ROLE, *pieces, STOP, *bill, DONE, b"")
            return
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}
        await exchange.whole(200, json.dumps(body).encode())

    return script


@pytest.fixture
async def checked(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Client]:
    """Policies whose answers are checked; `a-cheap` is tried before the baseline `b-strong`."""
    endpoints = []
    for name in ("a-cheap", "b-strong"):
        found = endpoint(name, "here", upstream.url)
        endpoints.append(replace(found, target=replace(found.target, price=TokenPrice(10**10, 10**10), max_output=100)))
    policies = {
        name: {
            "baseline": "b-strong",
            "default": {**LINES, **more},
            **({"quality": {"outcome": "right", "of": "step"}} if name == "judged" else {}),
        }
        for name, more in {
            "schema": {"verify": "json_schema"},
            "judged": {"verify": "json_schema"},
            "refusing": {"verify": "json_schema", "otherwise": "refuse"},
            "alone": {"verify": "not_empty", "use": "baseline", "require": []},
            "mine": {"verify": ["not_empty", "patch_applies"]},
            "mine_refusing": {"verify": "patch_applies", "otherwise": "refuse"},
        }.items()
    }
    async with running(config_of(tmp_path, *endpoints, policies=policies)) as client:
        yield client


def text_of(body: bytes) -> str:
    return str(json.loads(body)["choices"][0]["message"]["content"])


async def judged(client: Client, decision: str, accept: bool, **more: Any) -> tuple[int, dict[str, str], bytes]:
    return await client.post(f"/v1/decisions/{decision}/verdict", json.dumps({"accept": accept, **more}).encode())


async def test_a_rejected_answer_goes_on_to_the_next_model_and_both_are_paid_for(
    checked: Client, upstream: Upstream
) -> None:
    upstream.scripts |= {"a-cheap": saying(BAD), "b-strong": saying(GOOD)}
    status, headers, body = await checked.chat("auto", fields=ASKED, x_fw_policy="schema")
    assert (status, text_of(body), headers["x-fw-model"]) == (200, GOOD, "b-strong")
    record = await checked.recorded()
    first, second = record.attempts
    assert (first.outcome, first.check, first.accepted) == ("rejected", "json_schema", False)
    assert (second.outcome, second.reason, second.accepted, second.follows) == ("success", "cascade", True, 1)
    assert record.outcome == "cascaded"
    assert first.cost
    assert record.cost == first.cost + (second.cost or 0)


async def test_what_was_rejected_is_told_by_explain_analyze(checked: Client, upstream: Upstream) -> None:
    upstream.scripts |= {"a-cheap": saying(BAD), "b-strong": saying(GOOD)}
    _, headers, _ = await checked.chat("auto", fields=ASKED, x_fw_policy="schema")
    _, _, body = await checked.get(f"/v1/decisions/{headers['x-fw-decision-id']}")
    found = json.loads(body)
    assert "rejected by json_schema" in found["text"]
    assert "CASCADE until json_schema" in found["text"]
    assert found["decision"]["actual"]["attempts"][0]["check"] == "json_schema"
    assert found["decision"]["verify"] == ["json_schema"]


async def test_an_outcome_counts_for_the_model_that_a_cascade_began_with(checked: Client, upstream: Upstream) -> None:
    """Else the baseline would be judged by what was too hard for the cheap model, and that one by the easy requests alone."""
    upstream.scripts |= {"a-cheap": saying(BAD), "b-strong": saying(GOOD)}
    _, headers, _ = await checked.chat("auto", fields=ASKED, x_fw_policy="judged")
    said = {"outcomes": {"right": False}, "decision": headers["x-fw-decision-id"]}
    status, _, _ = await checked.post("/v1/outcomes", json.dumps(said).encode())
    assert status == 200
    known = checked.gateway._worlds.statistics.to_dict()["quality"]
    assert {key.split("\x1f")[2] for key in known if key.endswith("right")} == {"a-cheap"}


async def test_an_answer_that_passes_at_once_is_served_and_nobody_else_is_asked(
    checked: Client, upstream: Upstream
) -> None:
    upstream.scripts["a-cheap"] = saying(GOOD)
    _, headers, body = await checked.chat("auto", fields=ASKED, x_fw_policy="schema")
    assert (text_of(body), headers["x-fw-model"]) == (GOOD, "a-cheap")
    assert "x-fw-verify-failed" not in headers
    assert upstream.count("b-strong") == 0


async def test_a_stream_shows_nothing_of_a_rejected_answer_and_all_of_the_accepted_one(
    checked: Client, upstream: Upstream
) -> None:
    upstream.scripts |= {"a-cheap": saying(BAD), "b-strong": saying(GOOD)}
    status, _, body = await checked.chat(
        "auto", fields={**ASKED, "stream": True}, x_fw_policy="schema", x_fw_receipt="1"
    )
    assert status == 200
    events = data_of(body)
    assert events[-1] == "[DONE]"
    said = "".join(c["delta"].get("content") or "" for e in events[:-1] for c in json.loads(e)["choices"])
    assert said == GOOD
    receipt = next(line for line in body.decode().splitlines() if line.startswith(": fw-receipt "))
    record = await checked.recorded()
    assert json.loads(receipt.removeprefix(": fw-receipt "))["cost"] is not None
    assert record.accepted is not None
    assert record.accepted - record.call.started >= max(one.ended or 0 for one in record.attempts) - record.call.started


async def test_the_last_rejected_answer_is_passed_on_and_says_so(checked: Client, upstream: Upstream) -> None:
    upstream.scripts |= {"a-cheap": saying(BAD), "b-strong": saying(BAD)}
    status, headers, body = await checked.chat("auto", fields=ASKED, x_fw_policy="schema")
    assert (status, text_of(body)) == (200, BAD)
    assert headers["x-fw-verify-failed"] == "json_schema"
    assert headers["x-fw-model"] == "b-strong"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_policy_that_refuses_answers_with_an_error_instead(
    checked: Client, upstream: Upstream, stream: bool
) -> None:
    upstream.scripts |= {"a-cheap": saying(BAD), "b-strong": saying(BAD)}
    status, _, body = await checked.chat("auto", fields={**ASKED, "stream": stream}, x_fw_policy="refusing")
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (502, "verification_failed")
    assert "json_schema" in error["message"]
    assert (await checked.recorded()).outcome == "failed"


async def test_a_cascade_ends_when_the_budget_is_spent_and_the_last_answer_is_passed_on(
    checked: Client, upstream: Upstream
) -> None:
    upstream.scripts |= {"a-cheap": saying(BAD), "b-strong": saying(GOOD)}
    fields = {**ASKED, "max_tokens": 1}
    status, headers, body = await checked.chat("auto", fields=fields, x_fw_policy="schema", x_fw_budget="0.0001 USD")
    assert (status, text_of(body), headers["x-fw-verify-failed"]) == (200, BAD, "json_schema")
    assert upstream.count("b-strong") == 0


async def test_a_pinned_call_is_checked_when_the_client_says_so(checked: Client, upstream: Upstream) -> None:
    upstream.scripts["a-cheap"] = saying("one")
    _, headers, _ = await checked.chat("a-cheap", x_fw_verify="*")
    assert headers["x-fw-verify"] == "client"
    status, headers, body = await judged(checked, headers["x-fw-decision-id"], False)
    assert (status, text_of(body), headers["x-fw-verify-failed"]) == (200, "one", "client")


async def test_a_single_target_is_checked_too(checked: Client, upstream: Upstream) -> None:
    upstream.scripts["b-strong"] = saying("  ")
    status, headers, _ = await checked.chat("auto", x_fw_policy="alone")
    assert (status, headers["x-fw-verify-failed"]) == (200, "not_empty")
    assert upstream.count("a-cheap") == 0


async def test_a_held_stream_that_breaks_off_falls_back_unseen(checked: Client, upstream: Upstream) -> None:
    """After the first content a stream that is relayed would end in an error; one that is held is simply tried elsewhere."""

    async def breaks(exchange: Exchange) -> None:
        await exchange.events(ROLE, event({"content": "half"}))
        exchange.cut()

    upstream.scripts |= {"a-cheap": breaks, "b-strong": saying(GOOD)}
    status, events = await checked.stream("auto", fields=ASKED, x_fw_policy="schema")
    assert status == 200
    assert "half" not in "".join(events)
    assert (await checked.recorded()).outcome == "fell_back"


async def test_the_clients_rejection_brings_the_next_answer(checked: Client, upstream: Upstream) -> None:
    upstream.scripts |= {"a-cheap": saying("one"), "b-strong": saying("two")}
    status, headers, body = await checked.chat("auto", x_fw_policy="mine", x_fw_verify="patch_applies")
    assert (status, text_of(body), headers["x-fw-verify"], headers["x-fw-attempt"]) == (
        200,
        "one",
        "patch_applies",
        "1",
    )
    assert checked.records == []
    status, headers, body = await judged(checked, headers["x-fw-decision-id"], False, attempt=1)
    assert (status, text_of(body), headers["x-fw-verify"], headers["x-fw-attempt"]) == (
        200,
        "two",
        "patch_applies",
        "2",
    )
    status, headers, body = await judged(checked, headers["x-fw-decision-id"], True, attempt=2)
    assert (status, json.loads(body)) == (200, {"accepted": True})
    record = await checked.recorded()
    assert [one.outcome for one in record.attempts] == ["rejected", "success"]
    assert record.served is record.attempts[1]
    assert float(headers["x-fw-cost"]) * 10**9 == pytest.approx(record.cost)


async def test_a_check_that_is_built_in_spares_the_client_the_question(checked: Client, upstream: Upstream) -> None:
    upstream.scripts |= {"a-cheap": saying(""), "b-strong": saying("two")}
    _, headers, body = await checked.chat("auto", x_fw_policy="mine", x_fw_verify="*")
    assert (text_of(body), headers["x-fw-attempt"]) == ("two", "2")


@pytest.mark.parametrize(("policy", "status"), [("mine", 200), ("mine_refusing", 502)])
async def test_when_the_client_rejects_the_last_answer_otherwise_decides(
    checked: Client, upstream: Upstream, policy: str, status: int
) -> None:
    upstream.scripts |= {"a-cheap": saying("one"), "b-strong": saying("two")}
    _, headers, _ = await checked.chat("auto", x_fw_policy=policy, x_fw_verify="patch_applies")
    await judged(checked, headers["x-fw-decision-id"], False)
    found, headers, body = await judged(checked, headers["x-fw-decision-id"], False)
    assert found == status
    if status == 200:
        assert (text_of(body), headers["x-fw-verify-failed"]) == ("two", "patch_applies")
    else:
        assert json.loads(body)["error"]["code"] == "verification_failed"


async def test_a_verdict_nobody_waits_for_is_gone_and_one_about_another_answer_is_refused(
    checked: Client, upstream: Upstream
) -> None:
    upstream.scripts["a-cheap"] = saying("one")
    status, _, body = await judged(checked, "nothing", True)
    assert (status, json.loads(body)["error"]["code"]) == (410, "verdict_gone")
    _, headers, _ = await checked.chat("auto", x_fw_policy="mine", x_fw_verify="patch_applies")
    decision = headers["x-fw-decision-id"]
    status, _, body = await judged(checked, decision, False, attempt=7)
    assert (status, json.loads(body)["error"]["code"]) == (409, "verdict_mismatch")
    assert (await judged(checked, decision, True))[0] == 200
    assert (await judged(checked, decision, True))[0] == 410


async def test_an_answer_that_nobody_judges_by_its_deadline_is_recorded_as_unknown(
    checked: Client, upstream: Upstream
) -> None:
    upstream.scripts["a-cheap"] = saying("one")
    _, headers, _ = await checked.chat("auto", x_fw_policy="mine", x_fw_verify="patch_applies", x_request_timeout="0.5")
    record = await checked.recorded()
    assert (record.status, record.attempts[0].outcome, record.attempts[0].accepted) == (200, "success", None)
    assert (await judged(checked, headers["x-fw-decision-id"], True))[0] == 410


async def test_the_oldest_waiting_answer_gives_way_when_there_are_too_many(
    checked: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "MOST", 1)
    upstream.scripts["a-cheap"] = saying("one")
    names = []
    for _ in range(2):
        _, headers, _ = await checked.chat("auto", x_fw_policy="mine", x_fw_verify="patch_applies")
        names.append(headers["x-fw-decision-id"])
    await until(lambda: len(checked.records) == 1)
    assert (await judged(checked, names[0], True))[0] == 410
    assert (await judged(checked, names[1], True))[0] == 200


async def test_a_client_that_runs_no_check_is_told_so_by_explain(checked: Client) -> None:
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    _, _, found = await checked.post("/v1/explain", body, x_fw_policy="mine")
    said = json.loads(found)
    assert "patch_applies is not run by this client" in said["text"]
    assert said["plan"]["verify"] == ["not_empty"]


@pytest.mark.parametrize("header", ["two words", "regex", "a(b)"])
async def test_a_check_that_cannot_be_named_is_refused(checked: Client, header: str) -> None:
    status, _, body = await checked.chat("auto", x_fw_policy="mine", x_fw_verify=header)
    assert (status, json.loads(body)["error"]["param"]) == (400, "x-fw-verify")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_its_answer_is_held_stops_the_work_upstream(
    checked: Client, upstream: Upstream, stream: bool
) -> None:
    async def begins(exchange: Exchange) -> None:
        if exchange.fields.get("stream"):
            await exchange.events(ROLE, event({"content": "half"}))
        await exchange.gone.wait()

    upstream.scripts["a-cheap"] = begins
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await checked.chat("auto", fields={**ASKED, "stream": stream}, x_fw_policy="schema")
    record = await checked.recorded()
    assert (record.status, record.attempts[0].outcome) == (499, "cancelled")
    await until(upstream.log[-1].gone.is_set)


async def test_a_stopping_gateway_records_the_answers_that_nobody_judged(upstream: Upstream, tmp_path: Path) -> None:
    text = {"baseline": "one", "default": {"verify": "patch_applies"}}
    config = config_of(tmp_path, endpoint("one", "here", upstream.url), policies={"p": text})
    async with running(config) as client:
        await client.chat("auto", x_fw_policy="p", x_fw_verify="*")
        assert client.records == []
    assert [(one.status, one.attempts[0].accepted) for one in client.records] == [(200, None)]
