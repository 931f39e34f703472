"""Whatever the upstream does: a fallback, or an error the client can see; never a false success, never a hang."""

import contextlib
import json
import socket
import time

import pytest

from tests.endtoend.conftest import Gateway, until
from tests.endtoend.upstream import ANSWER, USAGE, Upstream

BREAKS = ["cut_noterm", "cut_rst", "cut_close", "cut_clean", "cut_done", "err"]
WHOLE = ["reset", "close", "500", "503", "429", "401", "short", "badjson", "empty", "html"]
ALLOWANCE = 0.2
"""Seconds from the client's leaving to the upstream's knowing."""


@pytest.mark.parametrize("index", [2, 31, 61])
@pytest.mark.parametrize("kind", BREAKS)
def test_a_stream_broken_after_content_ends_in_an_error_in_band(gateway: Gateway, kind: str, index: int) -> None:
    """The client keeps what it got and is told that it is not all; there is no `[DONE]`."""
    answer = gateway.chat(f"fx-{kind}:{index}", stream=True)
    assert answer.status == 200
    assert "[DONE]" not in answer.events
    error = json.loads(answer.events[-1])["error"]
    assert error["message"]
    got = "".join(c["delta"].get("content") or "" for e in answer.events[:-1] for c in json.loads(e).get("choices", []))
    assert ANSWER.startswith(got)
    assert got


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("kind", BREAKS)
def test_a_stream_broken_before_content_falls_back_unseen(gateway: Gateway, kind: str, index: int) -> None:
    """A role is not content: the next deployment answers, and the client sees one clean stream."""
    answer = gateway.chat(f"safe-{kind}:{index}", stream=True)
    assert answer.status == 200
    assert answer.events[-1] == "[DONE]"
    assert answer.text == ANSWER
    assert sum('"role"' in event for event in answer.events) == 1


@pytest.mark.parametrize("kind", WHOLE)
def test_a_failed_answer_falls_back(gateway: Gateway, kind: str) -> None:
    """Connection lost, status, broken body: the next deployment answers."""
    answer = gateway.chat(f"safe-{kind}")
    assert answer.status == 200, answer.body
    assert answer.json["choices"][0]["message"]["content"] == ANSWER


@pytest.mark.parametrize("kind", WHOLE)
def test_a_failed_answer_with_nothing_behind_it_is_an_error(gateway: Gateway, kind: str) -> None:
    """The client gets an error status in OpenAI's shape, not half an answer."""
    answer = gateway.chat(f"fx-{kind}")
    assert answer.status >= 429, answer.body
    assert answer.error["message"]


@pytest.mark.parametrize("status", ["400", "404", "422"])
def test_a_refusal_is_relayed_and_not_tried_again(gateway: Gateway, upstream: Upstream, status: str) -> None:
    """The request itself is at fault: one attempt, and the upstream's own words."""
    before = upstream.modes().count(status)
    answer = gateway.chat(f"fx-{status}")
    assert answer.status == int(status)
    assert answer.error["message"] == f"told to say {status}"
    assert upstream.modes().count(status) == before + 1


def test_a_finished_stream_without_done_is_a_success(gateway: Gateway) -> None:
    """`[DONE]` is a habit; the finish reason is what says that an answer is whole."""
    answer = gateway.chat("fx-nodone", stream=True)
    assert answer.text == ANSWER
    assert not any('"error"' in event for event in answer.events)


def test_a_redirect_is_a_fault_and_is_never_followed(gateway: Gateway, upstream: Upstream) -> None:
    """The prompt and the key go where the operator said, nowhere else."""
    with socket.create_server(("127.0.0.1", 0)) as thief:
        thief.settimeout(0.5)
        place = f"http://127.0.0.1:{thief.getsockname()[1]}/v1/chat/completions"
        answer = gateway.chat(f"fx-redirect:{place}")
        assert answer.status >= 500
        with pytest.raises(TimeoutError):
            thief.accept()


@pytest.mark.parametrize(("mode", "stream"), [("silent", False), ("silent", True), ("hang", False), ("stall:5", True)])
def test_nothing_outlives_its_deadline(gateway: Gateway, mode: str, stream: bool) -> None:
    """A silent upstream costs the client what it allowed, not more."""
    answer = gateway.chat(f"fx-{mode}", stream=stream, headers={"x-request-timeout": "0.7"})
    assert answer.seconds < 2
    if answer.status == 200:
        assert json.loads(answer.events[-1])["error"]["code"] == "deadline_exceeded"
    else:
        assert answer.status == 504
        assert answer.error["code"] == "deadline_exceeded"


@pytest.mark.parametrize(
    ("mode", "stream"),
    [("silent", True), ("stall:7", True), ("hang", False), ("silent", False)],
)
def test_a_client_that_leaves_stops_the_upstream(gateway: Gateway, upstream: Upstream, mode: str, stream: bool) -> None:
    """Before the first token, in the middle, or without streaming: the upstream knows within 200 ms."""
    mark = f"leaver-{mode}-{stream}"
    body = json.dumps(
        {"model": f"fx-{mode}", "stream": stream, "messages": [{"role": "user", "content": mark}]}
    ).encode()
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=5)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    seen = until(
        lambda: next((s for s in upstream.log if mark.encode() in s.body), None), what="the upstream's request"
    )
    if mode.startswith("stall"):
        data = b""
        while b"word03" not in data:
            data += client.recv(65536)
    client.close()
    left = time.monotonic()
    assert seen.over.wait(5)
    assert seen.peer_closed is not None
    assert seen.peer_closed - left < ALLOWANCE


def test_unknown_fields_reach_the_upstream_untouched(gateway: Gateway, upstream: Upstream) -> None:
    """What we do not know is not ours to change: only the model's name differs, byte for byte."""
    raw = (
        b'{ "messages":[{"role":"user","content":"caf\\u00e9 \xe2\x82\xac"}] ,"seed": 12345678901234567890123,\n'
        b'"x_new": {"a":[1.0, 1e400,  -0.0]}, "model" :"fx-ok" , "temperature":1.10 }'
    )
    raw = raw.replace(b"1e400,", b"1e40,")
    gateway.ask("POST", "/v1/chat/completions", raw, {"content-type": "application/json"})
    assert upstream.last("ok").body == raw


def test_usage_is_asked_for_and_hidden_again(gateway: Gateway, upstream: Upstream) -> None:
    """The gateway needs the count; a client that did not ask never sees it."""
    plain = gateway.chat("fx-ok", stream=True)
    assert json.loads(upstream.last("ok").body)["stream_options"]["include_usage"] is True
    assert not any('"usage"' in event for event in plain.events)
    asked = gateway.chat("fx-ok", stream=True, stream_options={"include_usage": True})
    usage = [json.loads(event).get("usage") for event in asked.events if event != "[DONE]"]
    assert [found for found in usage if found] == [USAGE]


def test_the_key_of_the_client_never_reaches_the_upstream(gateway: Gateway, upstream: Upstream) -> None:
    """Headers pass by an allow-list in both directions."""
    mine = {
        "authorization": "Bearer client-secret",
        "cookie": "a=b",
        "x-forwarded-for": "1.2.3.4",
        "x-api-key": "client-secret",
    }
    answer = gateway.chat("fx-ok", headers=mine)
    assert answer.status == 200
    seen = upstream.last("ok").headers
    assert "client-secret" not in json.dumps(seen)
    assert not {"cookie", "x-forwarded-for", "x-api-key"} & set(seen)


def test_a_slow_stream_arrives_as_it_is_made(gateway: Gateway) -> None:
    """Nothing is gathered: the first word is there long before the last."""
    body = json.dumps({"model": "fx-slow", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        start = time.monotonic()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body)
        data, first = b"", 0.0
        with contextlib.suppress(OSError):
            while more := client.recv(65536):
                data += more
                if not first and b"word00" in data:
                    first = time.monotonic() - start
        total = time.monotonic() - start
    assert b"[DONE]" in data
    assert first < total / 3
