"""Headers pass by a list, in both directions; what is not on it is nobody's business on the other side."""

import json
from typing import Any

import pytest

from tests.gateway.conftest import Client
from tests.gateway.upstream import DONE, HELLO, ROLE, STOP, Exchange, Upstream, completion, failure

TOLD = frozenset(
    [
        "content-type",
        "content-length",
        "transfer-encoding",
        "date",
        "server",
        "cache-control",
        "connection",
        "retry-after",
        "x-request-id",
        "x-should-retry",
        "x-fw-decision-id",
        "x-fw-model",
        "x-fw-attempts",
        "x-fw-cost",
        "x-fw-lost",
        "x-fw-estimated",
        "traceresponse",
    ]
)
"""Everything that a client may be told."""
ASKED = frozenset(
    [
        "host",
        "content-type",
        "content-length",
        "accept",
        "accept-encoding",
        "user-agent",
        "authorization",
        "traceparent",
        "tracestate",
        "x-request-timeout",  # what is left of the time, for servers of one's own
        "connection",
    ]
)
"""Everything that an upstream may be told by a chat."""
LEAKS = (
    "Set-Cookie: session=upstream", "Server: gunicorn/20.1", "X-Powered-By: Express", "Via: 1.1 inner", "X-Internal-Host: 10.0.0.7",
    "OpenAI-Organization: org-1", "X-Api-Key: leaked", "Strict-Transport-Security: max-age=1", "Location: http://elsewhere/",
    "X-Fw-Cost: 999", "Access-Control-Allow-Origin: *", "Alt-Svc: h3", "Content-Encoding: identity", "Refresh: 0",
)  # fmt: skip


async def leaking(exchange: Exchange) -> None:
    """A good answer with everything that a careless server says."""
    if exchange.fields.get("stream"):
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked", *LEAKS)
        for data in (ROLE, HELLO, STOP, DONE, b""):
            await exchange.chunk(data)
    elif exchange.fields.get("seed"):
        await exchange.whole(int(exchange.fields["seed"]), failure("no"), *LEAKS)
    else:
        await exchange.whole(200, completion(), *LEAKS)


ASKING = [{}, {"stream": True}, {"seed": 400}, {"seed": 429}, {"seed": 500}]


@pytest.mark.parametrize("fields", ASKING, ids=map(str, ASKING))
async def test_a_client_is_told_what_is_on_the_list(client: Client, upstream: Upstream, fields: dict[str, Any]) -> None:
    """Whole, streamed, refused or failed: no cookie, no name of a server, no header of ours that an upstream made up."""
    upstream.scripts["one"] = leaking
    _, headers, _ = await client.chat("one", fields=fields)
    assert set(headers) <= TOLD
    assert headers["server"] == "fw"
    assert headers.get("x-fw-cost") != "999"


async def test_an_upstream_is_told_what_is_on_the_list(client: Client, upstream: Upstream) -> None:
    """No key, cookie or address of the client, and nothing that is meant for the gateway."""
    mine = {
        "authorization": "Bearer mine", "cookie": "a=b", "x_forwarded_for": "1.2.3.4", "x_forwarded_host": "evil", "forwarded": "for=1",
        "x_real_ip": "1.2.3.4", "x_api_key": "mine", "api_key": "mine", "x_goog_api_key": "mine", "openai_organization": "org",
        "x_fw_agent": "a", "x_fw_run": "r", "idempotency_key": "k", "x_request_id": "q", "x_request_timeout": "5", "origin": "http://x",
        "referer": "http://x", "proxy_authorization": "Basic eDp5", "te": "trailers", "x_stainless_lang": "python", "baggage": "a=b",
    }  # fmt: skip
    assert (await client.chat("one", **mine))[0] == 200
    [seen] = upstream.log
    assert set(seen.headers) <= ASKED
    assert "mine" not in json.dumps(seen.headers)


BROKEN = (
    b"X-A: b\rSet-Cookie: x=1", b"X-A: b\nSet-Cookie: x=1", b"X-A: b\x00c", b"Content-Type: application/json\rSet-Cookie: x=1",
    b"Content-Type: application/json\x01\x7f", b"Content-Type: application/json; a=\xff\xfe", b"Retry-After: 1\rSet-Cookie: x=1", b"X-A",
    b" folded", b"X-A : b", b"Content-Type: text/html", b"Retry-After: -1", b"Retry-After: x\xff",
)  # fmt: skip


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize("line", BROKEN, ids=map(ascii, BROKEN))
async def test_a_header_that_is_none_never_becomes_two(
    client: Client, upstream: Upstream, line: bytes, status: int
) -> None:
    """An upstream's answer is taken without it, or not at all; the client sees a proper one in either case."""

    async def broken(exchange: Exchange) -> None:
        body = completion() if status == 200 else failure("no")
        await exchange.write(b"HTTP/1.1 %d X\r\n%s\r\nContent-Length: %d\r\n\r\n%s" % (status, line, len(body), body))
        exchange.cut()

    upstream.scripts["one"] = broken
    code, headers, _ = await client.chat("one")
    assert code in {200, 429, 502, 503}
    assert set(headers) <= TOLD
    assert all(value.isprintable() for value in headers.values())
