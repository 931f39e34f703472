"""What the gateway has no word for is passed on: completions, rerank, audio, a vLLM's own routes; keyed, limited, recorded, priced."""

import json
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.config import Secret
from tests.gateway.conftest import Client, config_of, endpoint, running
from tests.gateway.upstream import Exchange, Upstream, breaks, status
from tests.gateway.wires import sse

RANKED = {"id": "r-1", "model": "bge", "results": [{"index": 0, "relevance_score": 0.9}], "usage": {"total_tokens": 11}}


async def ranks(exchange: Exchange) -> None:
    """A rerank server."""
    await exchange.whole(200, json.dumps(RANKED).encode())


async def test_a_path_of_the_upstreams_own_is_passed_on_as_bytes(client: Client, upstream: Upstream) -> None:
    """Body and answer untouched but for the model's name; one record with what it used."""
    upstream.scripts["good"] = upstream.scripts["bad"] = ranks
    asked = b'{"query": "x",  "documents": ["a"], "model": "pair"}'
    code, headers, body = await client.post("/v1/rerank", asked)
    assert (code, json.loads(body)) == (200, RANKED)
    assert upstream.log[-1].path == "/v1/rerank"
    assert upstream.log[-1].body == asked.replace(b'"pair"', b'"bad"')
    record = await client.recorded()
    assert record.call.operation == "fw.relay"
    assert headers["x-fw-decision-id"] == record.call.decision_id
    usage = record.attempts[0].usage
    assert usage is not None
    assert usage.input_tokens == RANKED["usage"]["total_tokens"]


async def test_a_form_names_its_model_too(client: Client, upstream: Upstream) -> None:
    """Sound is sent as a form; the file passes byte for byte, the answer need not be JSON."""
    seen: list[bytes] = []

    async def heard(exchange: Exchange) -> None:
        seen.append(exchange.body)
        await exchange.whole(200, b"\x00\x01 hello", kind="text/plain")

    upstream.read_model = lambda exchange: "form"
    upstream.scripts["form"] = heard
    part = b'--X\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    asked = (
        part % (b"file", b'; filename="a.wav"\r\nContent-Type: audio/wav', b'\x00\r\nname="model"')
        + part % (b"model", b"", b"one")
        + b"--X--\r\n"
    )
    code, headers, body = await client.post(
        "/v1/audio/transcriptions", asked, Content_Type="multipart/form-data; boundary=X"
    )
    assert (code, body, headers["content-type"]) == (200, b"\x00\x01 hello", "text/plain")
    assert seen == [asked]
    assert upstream.log[-1].headers["content-type"] == "multipart/form-data; boundary=X"


async def test_completions_stream_as_chat_does(client: Client, upstream: Upstream) -> None:
    """Usage is asked for and hidden; a stream without its marker is never whole."""
    text = sse({"id": "c", "model": "m", "choices": [{"index": 0, "text": "Hi", "finish_reason": None}]})
    stop = sse({"id": "c", "model": "m", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
    bill = sse({"id": "c", "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}})
    done = b"data: [DONE]\n\n"
    asked = {"model": "one", "prompt": "x", "stream": True}
    upstream.scripts["one"] = breaks("clean", text, stop, bill, done)
    _, _, body = await client.post("/v1/completions", json.dumps(asked).encode())
    assert body == text + stop + done
    assert upstream.log[-1].fields["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    record = await client.recorded()
    assert record.call.operation == "text_completion"
    assert record.attempts[0].usage is not None
    upstream.scripts["one"] = breaks("clean", text)
    _, _, body = await client.post("/v1/completions", json.dumps(asked).encode())
    assert b'"error"' in body
    assert b"[DONE]" not in body


@pytest.mark.parametrize("cut", [False, True])
async def test_events_nobody_understands_are_whole_when_the_connection_ends_well(
    cut: bool, client: Client, upstream: Upstream
) -> None:
    """Without a marker to wait for, framing is all there is."""
    events = sse({"type": "image.partial", "b64": "AA"}) + sse({"type": "image.done"})
    upstream.scripts["one"] = breaks("cut" if cut else "clean", events)
    _, _, body = await client.post("/v1/images/generations", b'{"model":"one","stream":true}')
    assert body.startswith(events)
    assert (b'"error"' in body) is cut
    assert (await client.recorded()).outcome == ("failed" if cut else "direct")


async def test_what_an_upstream_lacks_is_its_own_word(client: Client, upstream: Upstream) -> None:
    """A 404 of the upstream is relayed, and harms no deployment."""
    upstream.scripts["one"] = status(404)
    for _ in range(8):
        code, _, body = await client.post("/v1/rerank", b'{"model":"one"}')
        assert (code, json.loads(body)["error"]["message"]) == (404, "told to say 404")
    upstream.scripts.pop("one")
    assert (await client.chat("one"))[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/rerank", {"model": "auto"}, 400),
        ("/v1/completions", {"model": "auto", "prompt": "x"}, 400),
        ("/v1/nothing", {}, 404),
        ("/v1/models", {"model": "one"}, 405),
        ("/v1/a//b", {"model": "one"}, 400),
        ("/v1/responses", {"model": "one", "input": "x", "previous_response_id": "r"}, 400),
    ],
)
async def test_what_cannot_be_passed_on_is_refused(client: Client, path: str, body: dict[str, Any], code: int) -> None:
    """By name, before anything is sent."""
    found, _, said = await client.post(path, json.dumps(body).encode())
    assert found == code
    assert json.loads(said)["error"]["message"]


async def test_a_key_guards_every_path(upstream: Upstream, tmp_path: Path) -> None:
    """Also those that are nobody's in particular."""
    async with running(config_of(tmp_path, endpoint("one", "here", upstream.url)), Secret("k" * 40)) as client:
        assert (await client.post("/v1/rerank", b'{"model":"one"}'))[0] == 401
    assert not upstream.log
