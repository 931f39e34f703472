"""Failing is cheap: no traceback for a client's mistake, and no more than a line a second of one kind, whoever makes them."""

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.endtoend.conftest import Gateway, config_for, gateway_of
from tests.endtoend.upstream import Upstream

MANY = 200


@pytest.fixture
def fresh(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with an empty log."""
    with gateway_of(config_for(upstream), tmp_path_factory.mktemp("failing")) as found:
        yield found


def test_what_a_client_does_wrong_is_not_logged_at_length(fresh: Gateway) -> None:
    """Bytes that are no HTTP: one line a second. Refused requests: none at all."""
    before = len(fresh.log())
    start = time.monotonic()
    for _ in range(MANY):
        with socket.create_connection(("127.0.0.1", fresh.port), timeout=5) as client:
            client.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
            client.recv(4096)
    noise = fresh.log()[before:]
    assert noise.count("not HTTP") <= 2 + (time.monotonic() - start)
    before = len(fresh.log())
    for body in (b"", b"[1]", b'{"model":', json.dumps({"model": "nobody", "messages": [{}]}).encode()):
        for _ in range(20):
            assert 400 <= fresh.ask("POST", "/v1/chat/completions", body).status < 500
    assert len(fresh.log()) - before < 1024


def test_what_an_upstream_does_wrong_is_not_logged_at_length(fresh: Gateway) -> None:
    """At most 1 KB for each failed request, on the average of many."""
    before = len(fresh.log())
    for mode in ("500", "reset", "badjson", "cut_rst:3"):
        for _ in range(20):
            fresh.chat(f"fx-{mode}", stream=mode.startswith("cut"))
    assert len(fresh.log()) - before < 80 * 1024
    assert "Traceback" not in fresh.log()
