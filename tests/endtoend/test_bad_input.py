"""Bad input gets a clear 4xx in OpenAI's error shape; never a 5xx, never a traceback."""

import gzip
import json
import socket
from typing import Any

import pytest

from tests.endtoend.conftest import Gateway

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
HELLO = [{"role": "user", "content": "hi"}]

BODIES: dict[str, tuple[bytes, int]] = {
    "malformed JSON": (b'{"model": "fx-ok", ', 400),
    "an empty body": (b"", 400),
    "a list body": (b"[]", 400),
    "a text body": (b'"hello"', 400),
    "NaN": (b'{"model": "fx-ok", "messages": [], "temperature": NaN}', 400),
    "Infinity": (b'{"model": "fx-ok", "messages": [], "temperature": Infinity}', 400),
    "a lone surrogate in UTF-8": (
        b'{"model": "fx-ok", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
        400,
    ),
    "bytes that are not UTF-8": (b'{"model": "fx-\xff"}', 400),
    "an unknown model": (json.dumps({"model": "gpt-99", "messages": HELLO}).encode(), 404),
    "no model": (json.dumps({"messages": HELLO}).encode(), 400),
    "a model that is a number": (json.dumps({"model": 7, "messages": HELLO}).encode(), 400),
    "a model that is null": (json.dumps({"model": None, "messages": HELLO}).encode(), 400),
    "no messages": (json.dumps({"model": "fx-ok"}).encode(), 400),
    "messages that are a text": (json.dumps({"model": "fx-ok", "messages": "hi"}).encode(), 400),
    "messages that are empty": (json.dumps({"model": "fx-ok", "messages": []}).encode(), 400),
    "a message that is no object": (json.dumps({"model": "fx-ok", "messages": ["hi"]}).encode(), 400),
    "stream that is a text": (json.dumps({"model": "fx-ok", "messages": HELLO, "stream": "yes"}).encode(), 400),
    "stream_options that are a list": (
        json.dumps({"model": "fx-ok", "messages": HELLO, "stream": True, "stream_options": []}).encode(),
        400,
    ),
    "tools that are an object": (json.dumps({"model": "fx-ok", "messages": HELLO, "tools": {}}).encode(), 400),
    "a tool that is a number": (json.dumps({"model": "fx-ok", "messages": HELLO, "tools": [5]}).encode(), 400),
    "max_tokens that is a text": (json.dumps({"model": "fx-ok", "messages": HELLO, "max_tokens": "9"}).encode(), 400),
    "nesting without end": (b'{"model": "fx-ok", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
}

HEADERS: dict[str, tuple[str, str]] = {
    "a budget without a unit": ("x-fw-budget", "lots"),
    "an attempt that is no number": ("x-fw-attempt", "first"),
    "labels without values": ("x-fw-labels", "severity"),
    "a timeout that is no number": ("x-request-timeout", "soon"),
    "a negative timeout": ("x-request-timeout", "-1"),
    "a timeout that is not a number at all": ("x-request-timeout", "nan"),
    "an unknown policy": ("x-fw-policy", "no-such-policy"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_a_clear_client_error(gateway: Gateway, name: str) -> None:
    """Each broken body gets its own status and an error that a person can act on."""
    body, status = BODIES[name]
    answer = gateway.ask("POST", CHAT, body, JSON)
    assert answer.status == status, answer.body
    assert len(answer.error["message"]) > 10
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("name", HEADERS)
def test_a_bad_header_is_a_clear_client_error(gateway: Gateway, name: str) -> None:
    """A claim that cannot be read is refused by name, not ignored."""
    header, value = HEADERS[name]
    answer = gateway.chat("fx-ok", headers={header: value})
    assert 400 <= answer.status < 500, answer.body
    assert header in answer.error["message"] or value in answer.error["message"]


def test_33_mib_are_refused_before_they_are_read(gateway: Gateway) -> None:
    """413 comes on the Content-Length alone: not one byte of the body was sent."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {33 * 2**20}\r\n\r\n"
        )
        client.sendall(head.encode())
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code"' in answer


def test_a_chunked_body_over_the_limit_is_413(gateway: Gateway) -> None:
    """Without a Content-Length the body is counted as it comes."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        piece = f"{2**20:x}\r\n".encode() + b" " * 2**20 + b"\r\n"
        answer = b""
        try:
            for _ in range(34):
                client.sendall(piece)
            client.sendall(b"0\r\n\r\n")
        except OSError:
            pass
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_gzip_body_is_415(gateway: Gateway) -> None:
    """Compressed requests are a way to make a small body large; they are not accepted."""
    body = gzip.compress(json.dumps({"model": "fx-ok", "messages": HELLO}).encode())
    answer = gateway.ask("POST", CHAT, body, {**JSON, "content-encoding": "gzip"})
    assert answer.status == 415
    assert "gzip" in answer.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/v1/chat/complete", 404), ("GET", "/", 404), ("GET", CHAT, 405), ("DELETE", "/v1/models", 405)],
)
def test_an_unknown_route_or_method_says_so(gateway: Gateway, method: str, path: str, status: int) -> None:
    """404 and 405 in the same shape as every other error."""
    answer = gateway.ask(method, path)
    assert answer.status == status
    assert answer.error["code"]


def test_a_misspelt_model_is_answered_with_the_near_name(gateway: Gateway) -> None:
    """A typo costs one look, not a search."""
    message = gateway.chat("safe-rest").error["message"]
    assert "safe-reset" in message


def test_embeddings_never_guess_a_model(gateway: Gateway) -> None:
    """Vectors of two models do not mix: `auto` is refused."""
    body = json.dumps({"model": "auto", "input": "hi"}).encode()
    answer = gateway.ask("POST", "/v1/embeddings", body, JSON)
    assert answer.status == 400
    assert "auto" in answer.error["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"outcomes": {}},
        {"run": "r"},
        {"outcomes": {"ok": "yes"}, "run": "r"},
        {"outcomes": {"ok": True}},
        {"outcomes": {"": True}, "run": "r"},
        {"outcomes": {"a\x1fb": True}, "run": "r"},
        [],
    ],
)
def test_a_bad_outcome_is_refused(gateway: Gateway, body: Any) -> None:
    """An outcome needs a name, a number or truth value, and something it belongs to."""
    answer = gateway.ask("POST", "/v1/outcomes", json.dumps(body).encode(), JSON)
    assert answer.status == 400, answer.body
    assert answer.error["message"]


@pytest.mark.parametrize("path", ["/v1/decisions/nope", "/v1/runs/nope"])
def test_what_is_not_known_is_404(gateway: Gateway, path: str) -> None:
    """Nothing is made up for an id nobody has seen."""
    assert gateway.ask("GET", path).status == 404


@pytest.mark.parametrize(
    "data",
    [
        b"GET /livez HTTP/1.1\nhost: x\n\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /livez HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 20_000 + b"\r\n\r\n",
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n12345".encode(),
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
    ],
)
def test_what_is_not_http_is_400_and_one_line_in_the_log(gateway: Gateway, data: bytes) -> None:
    """The connection ends, and the log holds no traceback (the fixture looks at the end)."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        client.sendall(data)
        answer = b""
        while more := client.recv(65536):
            answer += more
    assert b" 400 " in answer.split(b"\r\n", 1)[0]


def test_an_answer_does_not_say_what_it_was_made_with(gateway: Gateway) -> None:
    """No versions for a scanner to look up."""
    assert gateway.ask("GET", "/v1/models").headers["server"] == "fw"
    assert gateway.ask("GET", "/nowhere").headers["server"] == "fw"
