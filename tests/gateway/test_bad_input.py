"""Whatever is sent, the answer is a clear 4xx in OpenAI's shape that names the field; nothing is a 5xx and nothing goes upstream."""

import asyncio
import json

import pytest

from tests.gateway.conftest import Client
from tests.gateway.upstream import Upstream

GOOD = {"model": "one", "messages": [{"role": "user", "content": "Hi"}]}


def raw(**fields: object) -> bytes:
    """A good body with some fields replaced."""
    return json.dumps({**GOOD, **fields}).encode()


BODIES = {
    "empty": (b"", None),
    "cut": (b'{"model": "one", "mess', None),
    "a list": (b"[1]", None),
    "a text": (b'"x"', None),
    "null": (b"null", None),
    "NaN": (b'{"model":"one","messages":[{}],"temperature":NaN}', None),
    "Infinity": (b'{"model":"one","messages":[{}],"x":-Infinity}', None),
    "not UTF-8": (b'{"model":"\xff"}', None),
    "a lone surrogate": (b'{"model":"\\ud800","messages":[{}]}', None),
    "5,000 digits": (b'{"model":"one","messages":[{}],"seed":' + b"9" * 5000 + b"}", None),
    "deep": (b'{"model":"one","messages":[{}],"x":' + b"[" * 2000 + b"]" * 2000 + b"}", None),
    "65 levels": (b'{"model":"one","messages":[{}],"x":' + b"[" * 64 + b"]" * 64 + b"}", None),
    "no model": (b'{"messages":[{}]}', "model"),
    "model a number": (raw(model=7), "model"),
    "model null": (raw(model=None), "model"),
    "no messages": (b'{"model":"one"}', "messages"),
    "messages a text": (raw(messages="Hi"), "messages"),
    "messages empty": (raw(messages=[]), "messages"),
    "a message a text": (raw(messages=["Hi"]), "messages[0]"),
    "stream a text": (raw(stream="yes"), "stream"),
    "stream a number": (raw(stream=1), "stream"),
    "stream_options a list": (raw(stream=True, stream_options=[]), "stream_options"),
    "tools an object": (raw(tools={}), "tools"),
    "response_format a text": (raw(response_format="json"), "response_format"),
    "max_tokens a text": (raw(max_tokens="7"), "max_tokens"),
    "n true": (raw(n=True), "n"),
    "temperature a text": (raw(temperature="hot"), "temperature"),
}


@pytest.mark.parametrize(("body", "param"), BODIES.values(), ids=BODIES.keys())
async def test_a_bad_body_is_refused_by_name(
    client: Client, upstream: Upstream, body: bytes, param: str | None
) -> None:
    """400, the field, and words; nobody was asked."""
    code, headers, found = await client.post("/v1/chat/completions", body)
    error = json.loads(found)["error"]
    assert (code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert error["message"]
    assert headers["x-request-id"]
    assert headers["x-should-retry"] == "false"
    assert not upstream.log


HEADERS = {
    "x-request-timeout": ["soon", "-1", "0", "nan", "inf", "1e999"],
    "x-fw-attempt": ["x", "0", "-1", "1.5", "٣"],
    "x-fw-labels": ["a", "=b", "a=1,,b=2"],
    "x-fw-budget": ["lots", "2", "2 EUR", "USD"],
    "x-fw-agent": ["x" * 257],
    "x-fw-policy": ["nobody"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in HEADERS.items() for value in values])
async def test_a_bad_header_is_refused_by_name(client: Client, upstream: Upstream, name: str, value: str) -> None:
    """400 that names the header."""
    model = "auto" if name == "x-fw-policy" else "one"
    code, _, found = await client.chat(model, **{name.replace("-", "_"): value})
    assert (code, json.loads(found)["error"]["param"]) == (400, name)
    assert not upstream.log


@pytest.mark.parametrize(
    "name",
    ["x-fw-agent", "x-fw-labels", "x-request-id", "x-request-timeout", "user-agent", "traceparent", "tracestate"],
)
async def test_bytes_that_are_no_text_never_break_anything(client: Client, name: str) -> None:
    """A header may hold any bytes; the answer is an ordinary one, and can be written."""
    body = json.dumps(GOOD).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rsplit(":", 1)[1]))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s: a=\xff\xfe\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % (name.encode(), len(body)) + body)
    answer = await reader.read()
    writer.close()
    assert answer.split()[1] in {b"200", b"400"}


async def test_an_unknown_model_is_named_with_its_neighbours(client: Client) -> None:
    """404, and what may have been meant."""
    code, _, found = await client.chat("pear")
    error = json.loads(found)["error"]
    assert (code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "pair" in error["message"]


async def test_unknown_routes_and_wrong_methods(client: Client) -> None:
    """404 and 405 with `Allow`, in the same shape."""
    code, _, found = await client.get("/v2/nothing")
    assert (code, json.loads(found)["error"]["code"]) == (404, "unknown_route")
    code, headers, found = await client.get("/v1/chat/completions")
    assert (code, headers["allow"], json.loads(found)["error"]["code"]) == (405, "POST", "method_not_allowed")
    code, _, _ = await client.post("/v1/models", b"{}")
    assert code == 405


async def test_a_compressed_body_is_refused(client: Client) -> None:
    """415, before anything is read."""
    code, _, found = await client.post("/v1/chat/completions", b"x", content_encoding="gzip")
    assert code == 415
    assert "uncompressed" in json.loads(found)["error"]["message"]


async def test_a_body_over_the_limit_is_refused_before_it_is_read(client: Client) -> None:
    """413 comes on the announcement alone: not one byte of the body was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rsplit(":", 1)[1]))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (33 * 2**20))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.split()[1] == b"413"
    writer.close()


async def test_a_chunked_body_is_counted_while_it_is_read(client: Client) -> None:
    """413 as soon as it is too large."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(client.url.rsplit(":", 1)[1]))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"%x\r\n%s\r\n" % (2**20, b"x" * 2**20)
    for _ in range(33):
        writer.write(piece)
        await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.split()[1] == b"413"
    writer.close()


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"outcomes":{}}',
        b'{"outcomes":{"a":true}}',
        b'{"outcomes":{"a":"x"},"run":"r"}',
        b'{"outcomes":{"a":1},"run":"r","decision":"d"}',
        b'{"outcomes":{"a":1},"run":7}',
    ],
)
async def test_bad_outcomes_are_refused(client: Client, body: bytes) -> None:
    """An outcome names what was measured, its value, and one run or decision."""
    code, _, found = await client.post("/v1/outcomes", body)
    assert code == 400
    assert json.loads(found)["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/decisions/x", "/v1/runs/x", "/v1/decisions/%00", "/v1/runs/%27%20OR%201"])
async def test_what_is_not_known_is_not_found(client: Client, path: str) -> None:
    """404, not an error of ours."""
    code, _, found = await client.get(path)
    assert (code, json.loads(found)["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/embeddings"])
async def test_stream_options_of_another_protocol_break_nothing(client: Client, path: str) -> None:
    """Only chat has them; elsewhere they are a member like any other."""
    body = raw(stream_options=True, input="Hi", max_tokens=5)
    assert (await client.post(path, body))[0] != 500


async def test_a_name_out_of_the_request_cannot_break_a_header(client: Client, upstream: Upstream) -> None:
    """Members that get lost in translation are named in a header, whatever they are called."""
    names = ["\x1f", "a\r\nset-cookie: x=1", "\u2028", "é" * 3]
    body = json.dumps({"model": "one", "input": "Hi", **dict.fromkeys(names, 1)}).encode()
    code, headers, _ = await client.post("/v1/responses", body)
    assert code != 500
    assert "set-cookie" not in headers


async def test_a_model_has_a_name_of_a_length_that_can_be_kept(client: Client) -> None:
    """Names are kept by the hundred: none of them may be a megabyte long."""
    code, _, body = await client.chat("x" * 257)
    assert (code, json.loads(body)["error"]["param"]) == (400, "model")
