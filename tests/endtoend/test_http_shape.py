"""A request that two servers could read differently is refused and its connection closed: there is no second request in a first."""

import contextlib
import json
import socket

import pytest

from tests.endtoend.conftest import Gateway
from tests.endtoend.upstream import Upstream

CHAT = "/v1/chat/completions"
INNER = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
"""What a smuggler would have served as the next one's request."""


def exchange(port: int, data: bytes) -> bytes:
    """Everything that is answered until the connection ends."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client, contextlib.suppress(ConnectionError):
        client.sendall(data)
        while more := client.recv(65536):
            answer += more
    return answer


def refused(answer: bytes) -> None:
    """One answer, 400, in OpenAI's shape, and the connection was closed after it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] == b"400", answer
    assert head.startswith(b"HTTP/1.0 ") or b"connection: close" in head.lower()
    assert answer.count(b"HTTP/1.") == 1
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert b"aiohttp" not in answer.lower()


def post(*headers: bytes, body: bytes = b"", line: bytes = b"POST /v1/chat/completions HTTP/1.1") -> bytes:
    """A request as it stands on the wire."""
    return b"\r\n".join([line, b"Host: x", *headers, b"", b""]) + body


TARGETS = [
    "http://x/livez",
    "http://evil/v1/models",
    "//livez",
    "/v1//models",
    "/livez/../metrics",
    "/livez/..",
    "/./livez",
    "/livez/.",
    "/%2e%2e/metrics",
    "/livez/%2E%2e/metrics",
    "/v1%2fmodels",
    "/v1%2Fmodels",
    "/v1%5cmodels",
    "/v1\\models",
    "/livez/..?x=1",
    "/v1/decisions/..%2fruns",
    "*",
    "livez",
    "x:80",
    "/v1/mod\xe9ls",
    "/v1/models#x",
    "/v1/models%",
    "/v1/models%zz",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_target_that_can_be_read_in_two_ways_is_refused(gateway: Gateway, method: str, target: str) -> None:
    """Other forms than the path, empty segments, dots, hidden dots and slashes, bytes that are no part of a path."""
    refused(exchange(gateway.port, f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1")))


def test_connect_and_options_of_all_are_refused(gateway: Gateway) -> None:
    """This is no proxy, and there is nothing to ask of the server as a whole."""
    refused(exchange(gateway.port, b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n"))
    refused(exchange(gateway.port, b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"))


@pytest.mark.parametrize(
    "host",
    ["a/b", "a?b", "a#b", "user@a", "a b", "a,b", "", "a:b", "a:123456", "[::1", "\xe9", "a\\b", "-a", "a:80:80"],
)
def test_a_host_that_is_none_is_refused(gateway: Gateway, host: str) -> None:
    """Whatever a proxy before us made of it."""
    refused(exchange(gateway.port, f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")))


@pytest.mark.parametrize("host", ["a", "a.example.", "a_b:8400", "127.0.0.1:80", "[::1]:8400", "xn--e1afmkfd.example"])
def test_every_proper_host_is_served(gateway: Gateway, host: str) -> None:
    """Names, addresses, ports."""
    answer = exchange(gateway.port, f"GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")


FIVE = b"12345"
CHUNKED = b"Transfer-Encoding: chunked"
ZERO = b"0\r\n\r\n"
SMUGGLED = {
    "length and chunked": post(b"Content-Length: 5", CHUNKED, body=ZERO + INNER),
    "chunked and length": post(CHUNKED, b"Content-Length: 5", body=ZERO + INNER),
    "two lengths": post(b"Content-Length: 5", b"Content-Length: 6", body=FIVE + INNER),
    "two equal lengths": post(b"Content-Length: 5", b"Content-Length: 5", body=FIVE + INNER),
    "a list of lengths": post(b"Content-Length: 5, 5", body=FIVE + INNER),
    "a signed length": post(b"Content-Length: +5", body=FIVE + INNER),
    "a negative length": post(b"Content-Length: -5", body=FIVE + INNER),
    "a length in hex": post(b"Content-Length: 0x5", body=FIVE + INNER),
    "a length with a space inside": post(b"Content-Length: 1 5", body=FIVE + INNER),
    "a length beyond 64 bits": post(b"Content-Length: 18446744073709551621", body=FIVE + INNER),
    "no length at all": post(b"Content-Length:", body=FIVE + INNER),
    "a space before the colon": post(b"Content-Length : 5", body=FIVE + INNER),
    "a space before the name": b"POST %s HTTP/1.1\r\n Host: x\r\n\r\n" % CHAT.encode() + INNER,
    "an underscore in disguise": post(b"Content_Length: 5", b"Transfer-Encoding : chunked", body=ZERO + INNER),
    "two hosts": post(b"Host: y", b"Content-Length: 0", body=INNER),
    "two equal hosts": post(b"Host: x", b"Content-Length: 0", body=INNER),
    "no host": b"POST %s HTTP/1.1\r\nContent-Length: 0\r\n\r\n" % CHAT.encode() + INNER,
    "bare line feeds": b"GET /livez HTTP/1.1\nHost: x\n\n" + INNER,
    "a bare line feed among headers": b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: b\nContent-Length: 3\r\n\r\n" + INNER,
    "a bare carriage return among headers": b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: b\rContent-Length: 3\r\n\r\n"
    + INNER,
    "a folded header": post(b"X-A: b\r\n c", b"Content-Length: 0", body=INNER),
    "a folded encoding": post(b"Transfer-Encoding:\r\n chunked", body=ZERO + INNER),
    "a nul in a header": post(b"X-A: b\x00c", b"Content-Length: 0", body=INNER),
    "a nul in a name": post(b"X-A\x00: b", b"Content-Length: 0", body=INNER),
    "no colon": post(b"X-A", b"Content-Length: 0", body=INNER),
    "an empty name": post(b": b", b"Content-Length: 0", body=INNER),
    "an unknown encoding": post(b"Transfer-Encoding: xchunked", body=ZERO + INNER),
    "chunked not last": post(b"Transfer-Encoding: chunked, identity", body=ZERO + INNER),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked", body=ZERO + INNER),
    "two encodings": post(CHUNKED, b"Transfer-Encoding: identity", body=ZERO + INNER),
    "an encoding with a tab": post(b"Transfer-Encoding: \x0bchunked", body=ZERO + INNER),
    "a quoted encoding": post(b'Transfer-Encoding: "chunked"', body=ZERO + INNER),
    "chunked in 1.0": post(CHUNKED, body=ZERO + INNER, line=b"POST /v1/chat/completions HTTP/1.0"),
    "a chunk size in disguise": post(CHUNKED, body=b"0x5\r\n12345\r\n0\r\n\r\n" + INNER),
    "a signed chunk size": post(CHUNKED, body=b"+5\r\n12345\r\n0\r\n\r\n" + INNER),
    "a negative chunk size": post(CHUNKED, body=b"-5\r\n12345\r\n0\r\n\r\n" + INNER),
    "a chunk size beyond 64 bits": post(CHUNKED, body=b"10000000000000005\r\n12345\r\n0\r\n\r\n" + INNER),
    "a chunk size with spaces": post(CHUNKED, body=b"5 \r\n12345\r\n0\r\n\r\n" + INNER),
    "no chunk size": post(CHUNKED, body=b"\r\n12345\r\n0\r\n\r\n" + INNER),
    "a chunk that is longer than it says": post(CHUNKED, body=b"3\r\n12345\r\n0\r\n\r\n" + INNER),
    "chunk sizes that end in a line feed": post(CHUNKED, body=b"5\n12345\n0\n\n" + INNER),
    "a chunk extension with a line feed": post(CHUNKED, body=b"5;a=\n1\r\n12345\r\n0\r\n\r\n" + INNER),
    "another version": post(b"Content-Length: 0", body=INNER, line=b"POST /v1/chat/completions HTTP/1.9"),
    "version 2": post(b"Content-Length: 0", body=INNER, line=b"POST /v1/chat/completions HTTP/2.0"),
    "no version": b"GET /livez\r\nHost: x\r\n\r\n" + INNER,
    "a tab": post(b"Content-Length: 0", body=INNER, line=b"POST\t/v1/chat/completions HTTP/1.1"),
    "a space in the path": post(b"Content-Length: 0", body=INNER, line=b"POST /v1/chat completions HTTP/1.1"),
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "a head without end": b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
    "headers without end": b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 5_000 + b"\r\n",
    "a path without end": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_nothing_is_smuggled(gateway: Gateway, upstream: Upstream, data: bytes) -> None:
    """400 and the end of the connection: what stands behind is never taken for a request."""
    before = len(upstream.log)
    refused(exchange(gateway.port, data))
    assert len(upstream.log) == before


def test_what_follows_a_good_request_is_the_next_one(gateway: Gateway) -> None:
    """Requests that are sent ahead are answered in their order, also behind a chunked body."""
    body = json.dumps({"model": "fx-ok", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    first = post(CHUNKED, body=b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    answer = exchange(gateway.port, first + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.endswith(b"ok\n")
