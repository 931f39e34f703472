"""What no provider reported is estimated for the books, flagged there, and found nowhere else."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.ledger import explained
from fw_gateway.providers import guessing
from fw_gateway.telemetry import attributes
from fw_gateway.values import Usage
from fw_policies import explain
from fw_policies.model import TokenPrice
from tests.gateway.conftest import Client, config_of, endpoint, running
from tests.gateway.upstream import DONE, ROLE, STOP, Exchange, Upstream, completion, event

PRICE = TokenPrice(1_000_000_000, 2_000_000_000)
"""1,000 nano-USD for a token in, 2,000 for one out."""


def without_usage(text: str = "Hello world") -> bytes:
    """A whole answer that says nothing of tokens."""
    return json.dumps({name: value for name, value in json.loads(completion(text)).items() if name != "usage"}).encode()


async def quiet(exchange: Exchange) -> None:
    """An upstream that never counts: five events with content, or a whole answer."""
    if exchange.fields.get("stream"):
        await exchange.events(ROLE, *[event({"content": f"word{n} "}) for n in range(5)], STOP, DONE, b"")
    else:
        await exchange.whole(200, without_usage("x" * 40))


@pytest.fixture
async def priced(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Client]:
    """`quiet`, at a price for each token; `bad` fails before it, and counts nothing either."""
    found = [endpoint(*names, upstream.url, "quiet") for names in (("quiet", "here"), ("pair", "good"))]
    endpoints = [replace(one, target=replace(one.target, price=PRICE, self_hosted=False)) for one in found]
    upstream.scripts["quiet"] = quiet
    async with running(config_of(tmp_path, *endpoints)) as client:
        yield client


async def actual(client: Client, decision: str) -> dict[str, Any]:
    """What the ledger says became of a call."""
    _, _, body = await client.get(f"/v1/decisions/{decision}")
    return dict(json.loads(body)["decision"]["actual"])


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_without_usage_is_booked_as_an_estimate(priced: Client, stream: bool) -> None:
    """Tokens in and out, and what they cost; each is named as estimated, of the call and of the attempt."""
    _, headers, body = await priced.chat("quiet", fields={"stream": stream}, x_fw_receipt="1")
    found = await actual(priced, headers["x-fw-decision-id"])
    tokens = found["input_tokens"], found["output_tokens"]
    assert tokens == (1, 7 if stream else 10)
    assert found["cost"] == 1000 * tokens[0] + 2000 * tokens[1]
    assert found["estimated"] == ["input_tokens", "output_tokens", "cost"]
    assert found["attempts"][0]["estimated"] == found["estimated"]
    assert "x-fw-cost" not in headers
    if stream:
        assert b'"estimated":{"cost":"0.000015"' in body
    else:
        assert headers["x-fw-estimated-cost"] == "0.000021"


async def test_nothing_is_learnt_or_told_elsewhere_from_an_estimate(priced: Client) -> None:
    """The record's own usage and cost stay unknown: so do statistics, telemetry, and the columns that lessons are made of."""
    _, headers, _ = await priced.chat("quiet")
    record = await priced.recorded()
    assert (record.served.usage, record.served.cost, record.cost) == (None, None, None)
    assert not [name for name in attributes.rollup(record) if "cost" in name or "tokens" in name]
    await actual(priced, headers["x-fw-decision-id"])
    row = priced.gateway._ledger.decision(headers["x-fw-decision-id"]).row
    assert (row["input_tokens"], row["output_tokens"], row["cost"]) == (None, None, None)


async def test_what_was_reported_is_no_estimate(client: Client, upstream: Upstream) -> None:
    """Neither of the call nor of its attempt."""
    _, headers, _ = await client.chat("one")
    found = await actual(client, headers["x-fw-decision-id"])
    assert (found["estimated"], found["attempts"][0]["estimated"]) == ([], [])
    assert found["input_tokens"] is not None


async def test_a_run_that_holds_estimates_says_so(priced: Client) -> None:
    """Its sums are known, marked, and count against the budget that the run was given."""
    spent = priced.gateway._engine._runs.seen("r", 0.0)
    for _ in range(2):
        _, headers, _ = await priced.chat("quiet", x_fw_run="r")
    await actual(priced, headers["x-fw-decision-id"])
    found = explained.run("r", priced.gateway._ledger.run("r"))
    assert (found["cost"], found["estimated"]) == (42_000, ["input_tokens", "output_tokens", "cost"])
    assert "≈" in explain.run_text(found)
    assert spent.cost == 42_000


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "12345678"}]}, 2),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "é" * 8}]}]}, 4),
        ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:" + "A" * 9999}}]}]}, 1),
        ({"input": "1234", "instructions": "12345678"}, 3),
        ({"metadata": {"a": "x" * 99}}, 1),
        ({"input": [1, 2, 3, 40_000]}, 4),
        ({"prompt": [[1, 2], [3]]}, 3),
    ],
)
def test_a_request_is_estimated_by_its_text(fields: Mapping[str, Any], tokens: int) -> None:
    """Four bytes to a token, tokens as they are; pictures, and what no model reads, count for nothing."""
    assert guessing.asked(fields) == tokens


DATA = "QUJD" * 30_000
"""A picture of 90 KB."""
URL = f"data:image/png;base64,{DATA}"
ASKED = {
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}]}]
    },
    "/v1/responses": {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}]},
    "/v1/messages": {
        "max_tokens": 9,
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}],
            }
        ],
    },
}


@pytest.mark.parametrize("path", ASKED)
async def test_a_picture_is_no_text_to_a_context_window(upstream: Upstream, tmp_path: Path, path: str) -> None:
    """A model with a window of 8,000 tokens is asked about a picture of 120,000 letters in base64, but not for a text as long."""
    here = endpoint("one", "here", upstream.url)
    small = replace(here, target=replace(here.target, context=8_000))
    policy = {"baseline": "one", "default": {"minimize": "cost"}}
    async with running(config_of(tmp_path, small, policies={"default": policy})) as client:
        code, _, _ = await client.post(path, json.dumps({"model": "auto", **ASKED[path]}).encode())
        assert code == 200
        text = json.dumps({"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": DATA}]}).encode()
        assert (await client.post("/v1/chat/completions", text))[0] == 503
        code, _, body = await client.post(
            "/v1/explain", json.dumps({"model": "auto", **ASKED["/v1/chat/completions"]}).encode()
        )
        assert (code, json.loads(body)["plan"]["candidates"][0]["excluded"]) == (200, None)


@pytest.mark.parametrize("kind", [[], {}, None, 1])
async def test_a_part_of_no_type_is_no_fault_of_ours(client: Client, kind: Any) -> None:
    """Beside a picture, where parts are looked at: it is passed on for the upstream to judge."""
    parts = [{"type": "image_url", "image_url": {"url": URL}}, {"type": kind, "x": "y"}]
    assert (await client.chat("one", fields={"messages": [{"role": "user", "content": parts}]}))[0] == 200


async def test_a_picture_is_counted_as_one(client: Client) -> None:
    """Where an upstream cannot count."""
    _, _, body = await client.post(
        "/v1/messages/count_tokens", json.dumps({"model": "fx-ok", **ASKED["/v1/messages"]}).encode()
    )
    assert json.loads(body) == {"input_tokens": guessing.PICTURE}


def test_only_what_is_missing_is_estimated() -> None:
    """What was reported stays as it was."""
    assert guessing.completed(Usage(10, 20), 1, 2) is None
    assert guessing.completed(Usage(10, None, cached_tokens=3), 1, 2) == Usage(10, 2, cached_tokens=3)
    assert guessing.completed(None, None, None) is None


def test_an_answer_that_cannot_be_read_has_no_estimate() -> None:
    """It is not taken for an empty one."""
    assert guessing.answered(b"[") is None
    assert guessing.answered(b"[]") is None
