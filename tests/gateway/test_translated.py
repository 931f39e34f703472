"""A caller and an upstream that speak different protocols understand each other, and what is lost on the way is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.providers.dialects import responses
from fw_gateway.providers.form import Answer as FormAnswer
from fw_gateway.providers.form import Choice, Losses, Reasoning, Text
from fw_gateway.values import Usage
from tests.gateway.conftest import Client, config_of, endpoint, running
from tests.gateway.upstream import DONE, HELLO, ROLE, Exchange, Script, Upstream, breaks, completion, event, ok, status
from tests.gateway.wires import ANTHROPIC, ANTHROPIC_WHOLE, RESPONSE_WHOLE, RESPONSES

SAID = "Hello"
FRONTS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    "openai_responses": ("/v1/responses", {"input": "Hi"}),
    "anthropic_messages": ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}),
}
BACKS: dict[str, tuple[str, bytes, tuple[bytes, ...]]] = {
    "openai_chat": ("/v1/chat/completions", completion(), ()),
    "openai_responses": ("/v1/responses", json.dumps(RESPONSE_WHOLE).encode(), RESPONSES),
    "anthropic_messages": ("/v1/messages", json.dumps(ANTHROPIC_WHOLE).encode(), ANTHROPIC),
}
PAIRS = [(front, back) for front in FRONTS for back in BACKS if front != back]
pairs = pytest.mark.parametrize(("front", "back"), PAIRS)


def serves(back: str) -> Script:
    """An upstream of one protocol."""
    _, whole, stream = BACKS[back]
    if back == "openai_chat":
        return ok

    async def script(exchange: Exchange) -> None:
        if exchange.fields.get("stream"):
            await breaks("clean", *stream)(exchange)
        else:
            await exchange.whole(200, whole)

    return script


def spoken(upstream: Upstream, folder: Path, back: str, **policies: Any) -> Any:
    """A gateway whose model `m` speaks one protocol."""
    place = endpoint("m", "there", upstream.url, "up", speaks=(back,))
    return running(config_of(folder, place, policies=policies))


async def ask(client: Client, front: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
    """One exchange."""
    path, fields = FRONTS[front]
    return await client.post(path, json.dumps({"model": "m", **fields, **more}).encode())


def events_of(body: bytes) -> list[dict[str, Any]]:
    """The payloads of a stream."""
    lines = [line for line in body.decode().split("\n") if line.startswith("data: ") and line != "data: [DONE]"]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def words(front: str, body: bytes, *, stream: bool) -> str:
    """What an answer says to a client of `front`."""
    if not stream:
        found = json.loads(body)
        if front == "openai_chat":
            return str(found["choices"][0]["message"]["content"])
        parts = found["content"] if front == "anthropic_messages" else found["output"][0]["content"]
        return "".join(part["text"] for part in parts)
    events = events_of(body)
    if front == "openai_chat":
        return "".join(choice["delta"].get("content") or "" for event in events for choice in event.get("choices", ()))
    if front == "openai_responses":
        return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


def ended(front: str, body: bytes) -> bool:
    """Whether a client of `front` takes a stream for whole."""
    if front == "openai_chat":
        return body.endswith(b"data: [DONE]\n\n")
    last = events_of(body)[-1]["type"]
    return last in {"response.completed", "message_stop"}


@pairs
@pytest.mark.parametrize("stream", [False, True])
async def test_each_speaks_to_each(front: str, back: str, stream: bool, upstream: Upstream, tmp_path: Path) -> None:
    """The words arrive, in the caller's own protocol, with the usage counted once; the upstream was asked in its own."""
    upstream.scripts["up"] = serves(back)
    async with spoken(upstream, tmp_path, back) as client:
        code, headers, body = await ask(client, front, stream=stream)
        record = await client.recorded()
    assert code == 200
    assert words(front, body, stream=stream).startswith(SAID)
    assert not stream or ended(front, body)
    assert "x-fw-lost" not in headers
    assert upstream.log[-1].path == BACKS[back][0]
    assert upstream.log[-1].fields["model"] == "up"
    [attempt] = record.attempts
    assert isinstance(attempt.usage, Usage)
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (7, 3)
    assert attempt.protocol == back
    assert attempt.cost is not None


@pairs
async def test_a_stream_that_breaks_is_told_in_the_callers_words(
    front: str, back: str, upstream: Upstream, tmp_path: Path
) -> None:
    """After the first words, an error in band and no end; before them, nothing but a refusal."""
    stream = BACKS[back][2] or (ROLE, HELLO, DONE)
    cut = stream[:-1]
    upstream.scripts["up"] = breaks("clean", *cut)
    async with spoken(upstream, tmp_path, back) as client:
        code, _, body = await ask(client, front, stream=True)
        assert code == 200
        assert words(front, body, stream=True).startswith(SAID)
        assert not ended(front, body)
        assert b"error" in body.split(b"\n\n")[-2]
        upstream.scripts["up"] = breaks("clean", *stream[:1])
        code, _, body = await ask(client, front, stream=True)
    assert code == 502
    assert json.loads(body)["error"]["message"]


@pairs
async def test_an_upstreams_refusal_keeps_its_message(
    front: str, back: str, upstream: Upstream, tmp_path: Path
) -> None:
    """In the shape that the caller knows."""
    upstream.scripts["up"] = status(429)
    if back == "anthropic_messages":
        said = {"type": "error", "error": {"type": "rate_limit_error", "message": "told to say 429"}}
        upstream.scripts["up"] = status(429, body=json.dumps(said).encode())
    async with spoken(upstream, tmp_path, back) as client:
        code, _, body = await ask(client, front)
    assert (code, json.loads(body)["error"]["message"]) == (429, "told to say 429")
    assert (json.loads(body).get("type") == "error") is (front == "anthropic_messages")


async def test_what_is_lost_is_named_and_may_be_refused(upstream: Upstream, tmp_path: Path) -> None:
    """In a header and in the record; a policy that says `lossless` passes the target over, and says why."""
    upstream.scripts["up"] = serves("openai_responses")
    policy = {"baseline": "m", "default": {"minimize": "cost", "lossless": True}}
    async with spoken(upstream, tmp_path, "openai_responses", careful=policy) as client:
        code, headers, _ = await ask(client, "openai_chat", seed=7)
        assert (code, headers["x-fw-lost"]) == (200, "seed")
        assert (await client.recorded()).attempts[0].lost == ("seed",)
        code, headers, _ = await ask(client, "openai_chat", seed=7, stream=True)
        assert (headers["x-fw-lost"], headers["x-fw-attempts"]) == ("seed", "1")
        assert (await client.recorded(2)).attempts[0].lost == ("seed",)
        sent = len(upstream.log)
        body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "seed": 7}).encode()
        code, _, said = await client.post("/v1/chat/completions", body, x_fw_policy="careful")
    assert code == 400
    assert "seed" in json.loads(said)["error"]["message"]
    assert len(upstream.log) == sent


async def test_a_request_that_is_not_of_its_protocol_is_refused_before_it_is_sent(
    upstream: Upstream, tmp_path: Path
) -> None:
    """With the member at fault."""
    async with spoken(upstream, tmp_path, "openai_responses") as client:
        code, _, body = await ask(client, "openai_chat", messages=[{"role": "nobody", "content": "Hi"}])
    assert code == 400
    assert json.loads(body)["error"]["param"].startswith("messages[0]")
    assert not upstream.log


async def test_checks_see_an_answer_whatever_its_protocol(upstream: Upstream, tmp_path: Path) -> None:
    """`verify` holds, judges and passes on an answer of Responses as it does one of chat."""
    upstream.scripts["up"] = serves("openai_responses")
    policy = {"baseline": "m", "default": {"minimize": "cost", "verify": ["regex(Hello)"]}}
    strict = {"baseline": "m", "default": {"minimize": "cost", "verify": ["regex(Bye)"], "otherwise": "refuse"}}
    async with spoken(upstream, tmp_path, "openai_responses", easy=policy, strict=strict) as client:
        for stream in (False, True):
            body = json.dumps({"model": "auto", "input": "Hi", "stream": stream}).encode()
            code, _, said = await client.post("/v1/responses", body, x_fw_policy="easy")
            assert code == 200
            assert words("openai_responses", said, stream=stream) == "Hello world"
            code, _, said = await client.post("/v1/responses", body, x_fw_policy="strict")
            assert (code, json.loads(said)["error"]["code"]) == (502, "verification_failed")


async def test_thoughts_of_another_provider_do_not_go_to_openai(upstream: Upstream, tmp_path: Path) -> None:
    """A conversation that began elsewhere goes on: its thoughts are left out and named, all else goes as it was."""
    upstream.scripts["up"] = serves("openai_responses")
    thought = Reasoning("hm", signature="sig")
    answer = FormAnswer("anthropic_messages", "msg_1", "m", (Choice((thought, Text("Hello")), "stop"),))
    output = responses.write_answer(answer, Losses(), seed="1")["output"]
    asked = [{"role": "user", "content": "Hi"}, *output, {"role": "user", "content": "And?"}]
    async with spoken(upstream, tmp_path, "openai_responses") as client:
        code, headers, body = await ask(client, "openai_responses", input=asked, x_new=1)
    assert code == 200
    assert words("openai_responses", body, stream=False).startswith(SAID)
    assert headers["x-fw-lost"] == "input[1]"
    assert upstream.log[-1].fields == {"model": "up", "input": [asked[0], output[1], asked[3]], "x_new": 1}


async def test_what_an_answer_loses_is_told_after_it(upstream: Upstream, tmp_path: Path) -> None:
    """Whole, in the header; of a stream, whose header has gone by then, in the record."""
    second = event({"content": "Bye"}, "stop").replace(b'"index": 0', b'"index": 1')
    found = json.loads(completion())
    found["choices"].append({**found["choices"][0], "index": 1})

    async def two(exchange: Exchange) -> None:
        if exchange.fields.get("stream"):
            await breaks("clean", ROLE, HELLO, second, event({}, "stop"), DONE)(exchange)
        else:
            await exchange.whole(200, json.dumps(found).encode())

    upstream.scripts["up"] = two
    async with spoken(upstream, tmp_path, "openai_chat") as client:
        _, headers, _ = await ask(client, "openai_responses")
        assert headers["x-fw-lost"] == "answer.choices[1]"
        await ask(client, "openai_responses", stream=True)
        assert (await client.recorded(2)).attempts[0].lost == ("answer.choices[1]",)
