"""Whatever is sent, the answer is one, in time, and no error of ours; a traceback in the log fails the whole module.

`FUZZ_CASES=20000 pytest tests/endtoend/test_fuzz.py` looks longer than the suite does.
"""

import contextlib
import http.client
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.endtoend.conftest import Gateway, gateway_of
from tests.endtoend.upstream import Upstream

SECONDS = 10
"""In which every answer is there."""
CASES = int(os.environ.get("FUZZ_CASES", "300"))
SHARE = settings(
    max_examples=max(20, CASES // 5),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.target, Phase.shrink],
)
MODEL = "fx-ok"

words = st.sampled_from(
    ["", "a", "user", "assistant", "system", "tool", MODEL, "auto", "a/b", "function", "json_schema", "text"]
)
texts = st.one_of(words, st.text(max_size=20), st.text('\x00\u2028\ud7ff\U0010ffff"\\/{}[]:,', max_size=8))
numbers = st.one_of(
    st.integers(), st.sampled_from([0, -1, 2**31, 2**53, 2**63 - 1, 2**64, 10**400, 0.5, -0.0, 1e308, 5e-324])
)
NAMES = """model messages role content type text image_url url tools function name parameters stream stream_options include_usage
    max_tokens n temperature response_format json_schema schema input system thinking output_config format effort stop outcomes
    run decision step agent key metadata reasoning tool_calls id arguments instructions background"""
keys = st.one_of(st.sampled_from(NAMES.split()), texts)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=15,
)
HELLO = [{"role": "user", "content": "Hi"}]
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": MODEL, "messages": HELLO},
    "/v1/responses": {"model": MODEL, "input": "Hi"},
    "/v1/messages": {"model": MODEL, "messages": HELLO, "max_tokens": 5},
    "/v1/embeddings": {"model": MODEL, "input": "Hi"},
    "/v1/explain": {"model": "auto", "messages": HELLO},
    "/v1/outcomes": {"run": "r", "outcomes": {"ok": True}},
}
paths = st.sampled_from(list(GOOD))
FW = ("x-fw-agent", "x-fw-step", "x-fw-run", "x-fw-labels", "x-fw-budget", "x-fw-attempt", "x-fw-policy", "x-fw-verify", "x-fw-task",
      "x-request-timeout", "traceparent", "tracestate", "x-request-id", "idempotency-key", "content-type", "anthropic-version")  # fmt: skip
header_values = st.one_of(
    st.sampled_from(
        ["", "0", "1", "-1", "nan", "1e999", "2 USD", "a=b,c=d", "*", "not_empty", "json_schema", "regex(", "x" * 300]
    ),
    st.text('abc019 =,;:()*"\\\t\x7f\xe9\xff', max_size=30),
)


@pytest.fixture(scope="module")
def target(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One healthy model by many names."""
    can = "[chat, stream, tools, tool_choice, json_schema, json_mode, vision, embeddings]"
    place = f"{{provider: vllm, url: '{upstream.url}', machine_hour: 1.00 USD, capabilities: {can}}}"
    config = f'models:\n  "{MODEL}": {{deployments: [{place}]}}\n'
    with gateway_of(config, tmp_path_factory.mktemp("fuzz")) as found:
        yield found


def answered(gateway: Gateway, path: str, body: bytes, headers: dict[str, str] | None = None) -> None:
    """It is answered, and not with an error of ours (502 is the upstream's: this one speaks chat alone)."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", path, body, headers or {})
        answer = connection.getresponse()
        data = answer.read()
    assert answer.status < 500 or answer.status == 502, (answer.status, data)
    if answer.status >= 400:
        assert isinstance(json.loads(data)["error"]["message"], str)


def written(value: Any) -> bytes:
    """JSON as sloppy programs write it: surrogates, NaN and all."""
    return json.dumps(value).encode()


@SHARE
@given(paths, anything)
def test_any_json(target: Gateway, path: str, value: Any) -> None:
    """Of any shape."""
    answered(target, path, written(value))


@SHARE
@given(paths, st.dictionaries(keys, anything, max_size=4), st.integers(0, 3), st.booleans())
def test_almost_a_request(target: Gateway, path: str, changes: dict[str, Any], place: int, stream: bool) -> None:
    """A good request with some members of another kind, at the top or in a message."""
    body = json.loads(json.dumps(GOOD[path]))
    if stream:
        body["stream"] = True
    inner = body.get("messages")
    (inner[0] if place == 0 and inner else body).update(changes)
    answered(target, path, written(body))


@SHARE
@given(
    paths, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=6)), min_size=1, max_size=4)
)
def test_broken_bytes(target: Gateway, path: str, cuts: list[tuple[int, int, bytes]]) -> None:
    """A good body with bytes put in, taken out, replaced."""
    body = written(GOOD[path])
    for number, gone, new in cuts:
        place = number % (len(body) + 1)
        body = body[:place] + new + body[place + gone :]
    answered(target, path, body)


@SHARE
@given(paths, st.dictionaries(st.sampled_from(FW), header_values, min_size=1, max_size=4))
def test_any_headers(target: Gateway, path: str, headers: dict[str, str]) -> None:
    """Every header that is read, with any value that can be sent."""
    found = {name: value.strip() for name, value in headers.items()}
    with contextlib.suppress(ValueError):  # what the client library refuses to send
        answered(target, path, written(GOOD[path]), found)


PIECES = st.sampled_from([
    b"POST ", b"GET ", b"/v1/chat/completions", b"/livez", b"/../", b"//", b"%2e", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: x\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n",
    b"Connection: close\r\n", b"Upgrade: h2c\r\nConnection: Upgrade\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"5\r\n12345\r\n", b"{}", b":", b" ",
    b"\x00", b"\xff", b"x" * 9000,
])  # fmt: skip


@SHARE
@given(st.lists(st.one_of(PIECES, st.binary(max_size=4)), min_size=1, max_size=14))
def test_any_bytes(target: Gateway, pieces: list[bytes]) -> None:
    """Requests that may be none. What is no request gets no 5xx, what is half of one may wait for the rest; the server lives on."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", target.port), timeout=SECONDS) as client,
        contextlib.suppress(ConnectionError),
    ):
        client.sendall(b"".join(pieces))
        client.shutdown(socket.SHUT_WR)
        client.settimeout(0.02)
        with contextlib.suppress(TimeoutError):
            while data := client.recv(65536):
                answer += data
    for part in answer.split(b"HTTP/1.")[1:]:
        assert part[2:3] in b"1234", answer
    assert target.ask("GET", "/livez", timeout=SECONDS).status == 200
