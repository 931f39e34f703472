"""The same gateway in the caller's own process: the same answers and plans, and no socket in between."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from fw_gateway.app import Gateway
from fw_gateway.embedded import EmbeddedEngine
from fwsdk.transport import Engine, Request
from tests.gateway.conftest import config_of, data_of, endpoint, text_of
from tests.gateway.upstream import HELLO, ROLE, Upstream, completion, stalls

PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.fixture
async def engine(upstream: Upstream, tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    """An engine over one model."""
    found = EmbeddedEngine(Gateway(config_of(tmp_path, endpoint("one", "here", upstream.url))))
    yield found
    await found.aclose()


def chat(model: str = "one", *, stream: bool = False, **headers: str) -> Request:
    """A chat request as the SDK sends it."""
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    return Request("POST", "/v1/chat/completions", {"traceparent": PARENT, **headers}, body, 5.0)


async def test_a_call_is_answered_in_process(engine: EmbeddedEngine, upstream: Upstream) -> None:
    """The upstream's bytes, the decision's id, and the attributes for the caller's own span."""
    assert isinstance(engine, Engine)
    response = await engine.send(chat())
    assert (response.status, await response.read()) == (200, completion())
    assert response.headers["x-fw-decision-id"]
    assert response.attributes()["fw.decision.id"] == response.headers["x-fw-decision-id"]
    assert upstream.log[0].headers["traceparent"].split("-")[1] == "a" * 32


async def test_a_stream_is_relayed_in_process(engine: EmbeddedEngine) -> None:
    """Piece by piece, to its end."""
    response = await engine.send(chat(stream=True))
    assert text_of(data_of(await response.read())) == "Hello world"


@pytest.mark.parametrize("read", [0, 1])
async def test_a_stream_that_is_left_lets_go_of_the_upstream(
    engine: EmbeddedEngine, upstream: Upstream, read: int
) -> None:
    """Closed half read or not read at all: the upstream hears of it, the call is recorded."""
    upstream.scripts["one"] = stalls(ROLE, HELLO)
    response = await engine.send(chat(stream=True))
    for _ in range(read):
        assert b"Hello" in await anext(response.body)
    await response.aclose()
    await upstream.log[0].gone.wait()
    assert response.attributes()["fw.decision.id"]


async def test_a_status_is_a_response(engine: EmbeddedEngine) -> None:
    """What the gateway refuses is answered with a status, as over HTTP."""
    for request, status in (
        (chat("nobody"), 404),
        (chat(x_fw_attempt="0"), 200),
        (chat(**{"x-fw-attempt": "0"}), 400),
        (Request("GET", "/v2/none"), 404),
        (Request("GET", "/v1/decisions/none"), 404),
        (Request("GET", "/v1/models"), 200),
    ):
        response = await engine.send(request)
        assert response.status == status
        found = json.loads(await response.read())
        assert status == 200 or found["error"]["message"]


async def test_frameworks_get_a_listener_with_a_key_of_its_own(engine: EmbeddedEngine) -> None:
    """Opened once, on loopback, and it wants that key."""
    url, key = await engine.listen()
    assert (url, key) == await engine.listen()
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/v1")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/models") as answer:
            assert answer.status == 401
        async with session.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"}) as answer:
            assert answer.status == 200
