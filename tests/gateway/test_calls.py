"""Calls that are answered whole: relayed, retried, passed on to the next deployment, or refused in the upstream's own words."""

import asyncio
import json

import pytest

from tests.gateway.conftest import Client
from tests.gateway.upstream import USAGE, Exchange, Upstream, completion, failure, status


async def test_an_answer_is_relayed_byte_for_byte(client: Client) -> None:
    """What the upstream said is what the client gets, with the decision's id beside it."""
    code, headers, body = await client.chat("one", x_fw_agent="coding", x_fw_step="plan")
    assert (code, body) == (200, completion())
    assert len(headers["x-fw-decision-id"]) == 26
    assert headers["x-fw-model"] == "one"
    assert float(headers["x-fw-cost"]) > 0


async def test_one_record_says_everything(client: Client) -> None:
    """Who called, what was planned, what one attempt did, and what it used."""
    await client.chat("one", x_fw_agent="coding", x_fw_step="plan", x_fw_run="r-1", x_fw_labels="b=2,a=1")
    record = await client.recorded()
    assert len(client.records) == 1
    assert record.call.identity.labels == (("a", "1"), ("b", "2"))
    assert (record.status, record.outcome, record.error_type) == (200, "direct", "")
    assert record.plan is not None
    assert record.plan.reason == "pinned"
    [attempt] = record.attempts
    assert attempt is record.served
    assert attempt.usage is not None
    assert attempt.usage.input_tokens == USAGE["prompt_tokens"]
    assert attempt.finish_reasons == ("stop",)
    assert attempt.cost is not None


async def test_only_the_model_changes_on_the_way(client: Client, upstream: Upstream) -> None:
    """Unknown fields, spaces, large numbers and repeated keys arrive as they were sent."""
    raw = b'{ "messages":[{"role":"user","content":"\\u00e9 \xe2\x82\xac"}],"new":{"model":"x","n":1.0},\n'
    raw += b'"big":12345678901234567890 , "model" :"pair" }'
    code, _, _ = await client.post("/v1/chat/completions", raw)
    assert code == 200
    assert upstream.log[-1].body == raw.replace(b'"pair"', b'"bad"')


@pytest.mark.parametrize("code", [500, 502, 503, 429, 401, 402, 403, 408])
async def test_a_failing_deployment_is_passed_over(client: Client, upstream: Upstream, code: int) -> None:
    """The client sees one good answer; the record sees both attempts."""
    upstream.scripts["bad"] = status(code)
    got, _, body = await client.chat("pair")
    assert (got, body) == (200, completion())
    record = await client.recorded()
    assert record.outcome == "fell_back"
    assert record.attempts[-1].reason == "fallback"
    assert record.attempts[-1].trigger == str(code)


@pytest.mark.parametrize("code", [400, 404, 413, 422])
async def test_what_the_request_is_to_blame_for_is_tried_once(client: Client, upstream: Upstream, code: int) -> None:
    """Another target would say the same; the upstream's words reach the client unchanged."""
    words = json.dumps({"detail": f"no {code}"}).encode()
    upstream.scripts["bad"] = status(code, body=words)
    got, headers, body = await client.chat("pair")
    assert (got, body) == (code, words)
    assert headers["x-should-retry"] == "false"
    assert len(upstream.log) == 1


async def test_a_refusal_that_is_not_json_keeps_its_status(client: Client, upstream: Upstream) -> None:
    """A page of HTML becomes an error in OpenAI's shape."""
    upstream.scripts["one"] = status(404, body=b"<html>", kind="text/html")
    code, headers, body = await client.chat("one")
    assert code == 404
    assert headers["content-type"] == "application/json"
    assert "404" in json.loads(body)["error"]["message"]


async def test_a_refusal_in_two_pieces_is_relayed_whole(client: Client, upstream: Upstream) -> None:
    """However many reads the upstream's error takes, the client gets all of it."""
    words = failure("x" * 5000)

    async def slow(exchange: Exchange) -> None:
        await exchange.head(400, "Content-Type: application/json", "Transfer-Encoding: chunked")
        for start in range(0, len(words), 1000):
            await exchange.chunk(words[start : start + 1000])
            await asyncio.sleep(0)
        await exchange.chunk(b"")

    upstream.scripts["one"] = slow
    _, _, body = await client.chat("one")
    assert body == words


async def test_a_provider_that_refuses_our_key_is_our_fault(client: Client, upstream: Upstream) -> None:
    """401 of a provider never reaches the client as 401: that would blame the client's key."""
    upstream.scripts["one"] = status(401)
    code, _, body = await client.chat("one")
    assert code == 502
    assert "fw doctor" in json.loads(body)["error"]["message"]


async def test_the_same_target_is_tried_twice_at_most(client: Client, upstream: Upstream) -> None:
    """500 for ever: two tries at the only target, then its own words and `x-should-retry: false`."""
    upstream.scripts["one"] = status(500)
    code, headers, body = await client.chat("one")
    assert (code, body) == (500, failure("told to say 500"))
    assert headers["x-should-retry"] == "false"
    assert upstream.count("one") == 2
    record = await client.recorded()
    assert [attempt.reason for attempt in record.attempts] == ["initial", "retry"]
    assert record.outcome == "failed"


async def test_three_attempts_are_the_most(client: Client, upstream: Upstream) -> None:
    """Two deployments that fail for ever get three requests together."""
    upstream.scripts["bad"] = upstream.scripts["good"] = status(503)
    code, _, _ = await client.chat("pair")
    assert code == 503
    assert len(upstream.log) == 3


async def test_a_short_retry_after_is_waited_for(client: Client, upstream: Upstream) -> None:
    """The only target asks for 50 ms, and gets them."""

    async def once(exchange: Exchange) -> None:
        if upstream.count("one") == 1:
            await exchange.whole(429, failure("slow down"), "Retry-After: 0.05")
        else:
            await exchange.whole(200, completion())

    upstream.scripts["one"] = once
    code, _, _ = await client.chat("one")
    assert code == 200
    record = await client.recorded()
    assert 0.05 <= record.attempts[1].backoff <= 0.05 * 1.25


async def test_a_long_retry_after_is_the_clients_to_wait_for(client: Client, upstream: Upstream) -> None:
    """An hour is not waited for; the client is told of it."""
    upstream.scripts["one"] = status(429, "Retry-After: 3600")
    code, headers, _ = await client.chat("one")
    assert (code, headers["retry-after"]) == (429, "3600")
    assert upstream.count("one") == 1


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_is_a_fault(client: Client, upstream: Upstream, code: int) -> None:
    """Nobody follows it: the thief hears nothing."""
    upstream.scripts["one"] = status(code, f"Location: {upstream.url}/thief", body=b"")
    got, _, _ = await client.chat("one")
    assert got == 502
    assert {exchange.path for exchange in upstream.log} == {"/v1/chat/completions"}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"choices":[]}', failure("no")], ids=["empty", "cut", "list", "none", "error"]
)
async def test_a_200_that_is_no_answer_is_a_fault(client: Client, upstream: Upstream, body: bytes) -> None:
    """The next deployment answers instead."""
    upstream.scripts["bad"] = status(200, body=body)
    code, _, found = await client.chat("pair")
    assert (code, found) == (200, completion())


async def test_an_answer_cut_short_is_a_fault(client: Client, upstream: Upstream) -> None:
    """Fewer bytes than Content-Length promised."""

    async def short(exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: application/json", "Content-Length: 500")
        await exchange.write(completion()[:40])
        exchange.cut()

    upstream.scripts["bad"] = short
    code, _, found = await client.chat("pair")
    assert (code, found) == (200, completion())
    assert (await client.recorded()).attempts[0].error_type == "stream_interrupted"


async def test_a_connection_that_died_idle_is_replaced_unnoticed(client: Client, upstream: Upstream) -> None:
    """A kept connection that turns out dead costs one resend, not an attempt."""

    async def vanish(exchange: Exchange) -> None:
        if len(upstream.log) == 2:
            exchange.reset()
        else:
            await exchange.whole(200, completion())

    upstream.scripts["one"] = vanish
    assert (await client.chat("one"))[0] == 200
    assert (await client.chat("one"))[0] == 200
    record = await client.recorded(2)
    assert len(record.attempts) == 1
    assert record.attempts[0].resends == 1


async def test_a_fresh_connection_that_is_reset_is_an_attempt(client: Client, upstream: Upstream) -> None:
    """Sent once, lost: the next try is counted as one."""

    async def reset(exchange: Exchange) -> None:
        exchange.reset()

    upstream.scripts["one"] = reset
    code, _, _ = await client.chat("one")
    assert code == 502
    assert upstream.count("one") == 2


async def test_the_clients_secrets_stay_here(client: Client, upstream: Upstream) -> None:
    """Headers go up by an allow-list; trace context goes with them, under the attempt's own span."""
    await client.chat("one", authorization="Bearer mine", cookie="a=b", x_api_key="mine", x_forwarded_for="1.2.3.4")
    sent = upstream.log[-1].headers
    assert "mine" not in json.dumps(sent)
    assert set(sent) <= {
        "host",
        "content-type",
        "accept",
        "accept-encoding",
        "user-agent",
        "content-length",
        "traceparent",
        "x-request-timeout",
    }
    record = await client.recorded()
    assert sent["traceparent"].split("-")[1:3] == [record.call.trace.trace_id, record.attempts[0].span_id]


async def test_embeddings_are_pinned(client: Client, upstream: Upstream) -> None:
    """A named model is relayed, an upstream's 404 too; `auto` is refused, because vectors of two models do not mix."""
    vectors = json.dumps(
        {"object": "list", "data": [{"embedding": [0.1]}], "model": "m", "usage": {"prompt_tokens": 2}}
    )
    upstream.scripts["one"] = status(200, body=vectors.encode())
    code, _, body = await client.post("/v1/embeddings", b'{"model":"one","input":"x"}')
    assert (code, body) == (200, vectors.encode())
    assert upstream.log[-1].path == "/v1/embeddings"
    upstream.scripts["one"] = status(404, body=b'{"detail":"Not Found"}')
    code, _, body = await client.post("/v1/embeddings", b'{"model":"one","input":"x"}')
    assert (code, body) == (404, b'{"detail":"Not Found"}')
    code, _, body = await client.post("/v1/embeddings", b'{"model":"auto","input":"x"}')
    assert code == 400
    assert json.loads(body)["error"]["param"] == "model"


async def test_a_budget_that_is_spent_ends_the_run(client: Client, upstream: Upstream) -> None:
    """402, and nothing was asked of anyone."""
    code, _, body = await client.chat("one", x_fw_budget="0 USD")
    assert code == 402
    assert json.loads(body)["error"]["code"] == "budget_exceeded"
    assert not upstream.log
    _, headers, _ = await client.chat("one", x_fw_budget="2 USD")
    assert 1.9 < float(headers["x-fw-budget-remaining"]) < 2
