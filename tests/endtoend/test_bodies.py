"""Large bodies are boring: held twice and no more, counted together, and refused before they are sent where they cannot be taken."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endtoend.conftest import Gateway, gateway_of, until
from tests.endtoend.upstream import Upstream

SIZE = 20_000_000
POST = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def config(url: str, **server: str) -> str:
    """Every model name is the upstream's own."""
    place = f"{{provider: vllm, url: '{url}', machine_hour: 1.00 USD}}"
    settings = ", ".join(f"{name}: {value}" for name, value in server.items())
    return f'server: {{{settings}}}\nmodels:\n  "fx-*":\n    deployments: [{place}]\n'


@pytest.fixture(scope="module")
def roomy(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that takes images of 38 MiB, and 28 MiB of bodies at once."""
    text = config(upstream.url, max_body="38 MiB", max_bodies="28 MiB")
    with gateway_of(text, tmp_path_factory.mktemp("bodies")) as found:
        yield found


def image(size: int) -> bytes:
    """A chat request with an image of so many bytes."""
    url = "data:image/png;base64," + "QUJD" * (size // 4)
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    return json.dumps({"model": "fx-ok", "messages": messages}).encode()


def memory(pid: int, what: str) -> int:
    """Bytes: `VmHWM` the most there ever was, `VmRSS` now."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_body_of_20_mb_takes_less_than_two_and_a_half_times_as_much(roomy: Gateway, upstream: Upstream) -> None:
    """Read, parsed and sent on; the upstream gets every byte of it."""
    assert roomy.chat("fx-ok").status == 200
    pid, body = roomy.process.pid, image(SIZE)
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = memory(pid, "VmRSS")
    assert roomy.ask("POST", "/v1/chat/completions", body).status == 200
    assert memory(pid, "VmHWM") - before < 2.5 * len(body)
    assert upstream.last("ok").body == body


def test_bodies_are_counted_together(roomy: Gateway) -> None:
    """20 MB under way leave no room for 20 more: 503 with `Retry-After` before they are sent; room comes back with the end."""
    with socket.create_connection(("127.0.0.1", roomy.port), timeout=10) as first:
        first.sendall(f"{POST}Content-Length: {SIZE + 1}\r\n\r\n".encode() + b" " * SIZE)

        def refused() -> bytes:
            with socket.create_connection(("127.0.0.1", roomy.port), timeout=10) as second:
                second.sendall(f"{POST}Content-Length: {SIZE}\r\nExpect: 100-continue\r\n\r\n".encode())
                answer = second.recv(65536)
            return answer if b" 100 " not in answer else b""

        answer = until(refused, what="the refusal")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        assert b"overloaded" in answer
        assert roomy.chat("fx-ok").status == 200
    until(lambda: not refused(), what="room for another")


def test_a_body_that_is_too_large_is_not_asked_for(roomy: Gateway) -> None:
    """`Expect: 100-continue` is answered with 413 instead, or with 100 where the body is welcome."""
    for length, status in ((41_000_000, b"413"), (10, b"100")):
        with socket.create_connection(("127.0.0.1", roomy.port), timeout=10) as client:
            client.sendall(f"{POST}Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n".encode())
            assert client.recv(65536).split()[1] == status
